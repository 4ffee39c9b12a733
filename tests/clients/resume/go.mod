module weir/resume

go 1.21

require github.com/VirusTotal/vt-go v1.1.0
