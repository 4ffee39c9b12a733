// Reads a collection through vt-go's iterator in two goes: STOP objects, then, with a new
// iterator from the cursor of the last one, the rest. Prints one id a line.
//
//	resume HOST KEY PATH BATCH STOP [FILTER]
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"

	vt "github.com/VirusTotal/vt-go"
)

// id names the notification where there is one: a file can stand in a stream many times.
func id(object *vt.Object) string {
	if notification, err := object.GetContextString("notification_id"); err == nil {
		return notification
	}
	return object.ID()
}

func read(client *vt.Client, path string, stop int, options ...vt.IteratorOption) string {
	it, err := client.Iterator(vt.URL("%s", path), options...)
	if err != nil {
		log.Fatal(err)
	}
	for n := 0; (stop == 0 || n < stop) && it.Next(); n++ {
		fmt.Println(id(it.Get()))
	}
	if err := it.Error(); err != nil {
		log.Fatal(err)
	}
	return it.Cursor()
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		log.Fatal(err)
	}
	return n
}

func main() {
	if len(os.Args) < 6 {
		log.Fatal("usage: resume HOST KEY PATH BATCH STOP [FILTER]")
	}
	vt.SetHost(os.Args[1])
	client := vt.NewClient(os.Args[2])
	path, options := os.Args[3], []vt.IteratorOption{vt.IteratorBatchSize(number(os.Args[4]))}
	if len(os.Args) > 6 {
		options = append(options, vt.IteratorFilter(os.Args[6]))
	}
	cursor := read(client, path, number(os.Args[5]), options...)
	fmt.Println("--")
	fmt.Scanln() // whoever started us says when to go on
	read(client, path, 0, vt.IteratorCursor(cursor))
}
