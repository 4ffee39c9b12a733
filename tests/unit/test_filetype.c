#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "scan/filetype.h"

/* libmagic's words for real files, and what VirusTotal calls them. */
static const struct {
	const char *magic, *mime, *tag;
	uint32_t vt;
} rows[] = {
	{ "PE32 executable (GUI) Intel 80386, for MS Windows, 5 sections",
	  "application/vnd.microsoft.portable-executable", "peexe", 1 },
	{ "PE32+ executable (DLL) (GUI) x86-64, for MS Windows, 6 sections",
	  "application/vnd.microsoft.portable-executable", "pedll", 2 },
	{ "PE32 executable (console) Intel 80386 Mono/.Net assembly, for MS Windows", "", "peexe",
	  1 },
	{ "MS-DOS executable, NE for MS Windows 3.x (DLL or font)", "application/x-dosexec",
	  "nedll", 11 },
	{ "MS-DOS executable, NE for MS Windows 3.x (EXE)", "application/x-dosexec", "neexe", 10 },
	{ "MS-DOS executable", "application/x-dosexec", "mz", 20 },
	{ "ELF 64-bit LSB pie executable, x86-64, version 1 (SYSV)", "application/x-pie-executable",
	  "elf", 31 },
	{ "Mach-O 64-bit x86_64 executable", "application/x-mach-binary", "macho", 35 },
	{ "Mach-O universal binary with 2 architectures", "application/x-mach-binary", "macho",
	  35 },
	{ "Composite Document File V2 Document, Little Endian, Os: Windows, MSI Installer, Code "
	  "page: 1252",
	  "application/x-msi", "msi", 3 },
	{ "Composite Document File V2 Document, Name of Creating Application: Microsoft Office "
	  "Word",
	  "application/msword", "doc", 202 },
	{ "Composite Document File V2 Document, Name of Creating Application: Microsoft Excel",
	  "application/vnd.ms-excel", "xls", 206 },
	{ "Composite Document File V2 Document", "application/vnd.ms-powerpoint", "ppt", 204 },
	{ "CDFV2 Microsoft Outlook Message", "application/vnd.ms-outlook", "outlook", 607 },
	{ "Microsoft Word 2007+",
	  "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx", 203 },
	{ "Microsoft Excel 2007+", "", "xlsx", 207 },
	{ "Microsoft PowerPoint 2007+", "", "pptx", 205 },
	{ "OpenDocument Text", "application/vnd.oasis.opendocument.text", "odt", 252 },
	{ "PDF document, version 1.7", "application/pdf", "pdf", 200 },
	{ "Rich Text Format data, version 1, ANSI", "text/rtf", "rtf", 208 },
	{ "HTML document, ASCII text", "text/html", "html", 600 },
	{ "XML 1.0 document, ASCII text", "text/xml", "xml", 601 },
	{ "JSON text data", "application/json", "json", 609 },
	{ "Zip archive data, at least v2.0 to extract, compression method=deflate",
	  "application/zip", "zip", 300 },
	{ "Java archive data (JAR)", "application/java-archive", "jar", 307 },
	{ "Android package (APK), with AndroidManifest.xml",
	  "application/vnd.android.package-archive", "apk", 503 },
	{ "gzip compressed data, from Unix", "application/gzip", "gzip", 301 },
	{ "bzip2 compressed data, block size = 900k", "application/x-bzip2", "bzip", 302 },
	{ "7-zip archive data, version 0.4", "application/x-7z-compressed", "7zip", 305 },
	{ "RAR archive data, v5", "application/x-rar", "rar", 308 },
	{ "POSIX tar archive (GNU)", "application/x-tar", "tar", 317 },
	{ "Microsoft Cabinet archive data, 1000 bytes, 1 file", "application/vnd.ms-cab-compressed",
	  "cab", 306 },
	{ "Zstandard compressed data (v0.8+)", "application/zstd", "zst", 318 },
	{ "Debian binary package (format 2.0), with control.tar.xz",
	  "application/vnd.debian.binary-package", "deb", 38 },
	{ "RPM v3.0 bin i386/x86_64", "application/x-rpm", "rpm", 33 },
	{ "MS Windows shortcut, Item id list present", "application/x-ms-shortcut", "lnk", 50 },
	{ "MS Windows 95 Internet shortcut text (URL=<http://x/>)", "application/x-mswinurl", "url",
	  612 },
	{ "MS Windows HtmlHelp Data", "application/vnd.ms-htmlhelp", "chm", 265 },
	{ "compiled Java class data, version 52.0 (Java 1.8)", "application/x-java-applet", "class",
	  36 },
	{ "Byte-compiled Python module for CPython 3.11", "application/x-bytecode.python", "pyc",
	  40 },
	{ "python 2.7 byte-compiled", "application/x-bytecode.python", "pyc", 40 },
	{ "POSIX shell script, ASCII text executable", "text/x-shellscript", "shell", 409 },
	{ "Bourne-Again shell script, ASCII text executable", "text/x-shellscript", "shell", 409 },
	{ "Python script, ASCII text executable", "text/x-script.python", "python", 403 },
	{ "Perl script text executable", "text/x-perl", "perl", 404 },
	{ "PHP script, ASCII text", "text/x-php", "php", 402 },
	{ "Ruby script, ASCII text executable", "text/x-ruby", "ruby", 405 },
	{ "Node.js script text executable", "application/javascript", "javascript", 414 },
	{ "a /usr/bin/pwsh script, ASCII text executable", "text/plain", "powershell", 415 },
	{ "DOS batch file, ASCII text, with CRLF line terminators", "text/x-msdos-batch", "bat",
	  431 },
	{ "C source, ASCII text", "text/x-c", "c", 406 },
	{ "C++ source, ASCII text", "text/x-c++", "cpp", 407 },
	{ "PNG image data, 1 x 1, 8-bit/color RGB", "image/png", "png", 103 },
	{ "JPEG image data, JFIF standard 1.01", "image/jpeg", "jpeg", 100 },
	{ "GIF image data, version 89a, 1 x 1", "image/gif", "gif", 102 },
	{ "PC bitmap, Windows 3.x format", "image/bmp", "bmp", 104 },
	{ "SVG Scalable Vector Graphics image", "image/svg+xml", "svg", 115 },
	{ "RIFF (little-endian) data, Web/P image", "image/webp", "webp", 117 },
	{ "RIFF (little-endian) data, WAVE audio, Microsoft PCM", "audio/x-wav", "wav", 155 },
	{ "RIFF (little-endian) data, AVI, 1 x 1", "video/x-msvideo", "avi", 157 },
	{ "Audio file with ID3 version 2.3.0", "audio/mpeg", "mp3", 153 },
	{ "MPEG ADTS, layer III, v1, 128 kbps", "audio/mpeg", "mp3", 153 },
	{ "MPEG sequence, v2, program multiplex", "video/mpeg", "mpeg", 158 },
	{ "ISO Media, MP4 v2 [ISO 14496-14]", "video/mp4", "mp4", 167 },
	{ "ISO Media, Apple QuickTime movie", "video/quicktime", "qt", 159 },
	{ "Macromedia Flash data (compressed), version 10", "application/x-shockwave-flash",
	  "flash", 602 },
	{ "ISO 9660 CD-ROM filesystem data 'X'", "application/x-iso9660-image", "isoimage", 800 },
	{ "pcap capture file, microsecond ts (little-endian)", "application/vnd.tcpdump.pcap",
	  "cap", 700 },
	{ "pcapng capture file - version 1.0", "application/octet-stream", "cap", 700 },
	{ "SMTP mail, ASCII text", "message/rfc822", "email", 606 },
	{ "PEM certificate", "text/plain", "crt", 1302 },
	{ "Google Chrome extension, version 3", "application/x-chrome-extension", "crx", 1100 },
	{ "CSV text", "text/csv", "csv", 610 },
	{ "ASCII text, with very long lines (4000)", "text/plain", "text", 400 },
	{ "Unicode text, UTF-8 text", "text/plain", "text", 400 },
	{ "Non-ISO extended-ASCII text", "application/octet-stream", "text", 400 },
	{ "data", "application/octet-stream", "unknown", 0 },
	{ "empty", "inode/x-empty", "unknown", 0 },
	{ "", "", "unknown", 0 },
};

static void words_of_libmagic(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct filetype *t = filetype_of(str_of(rows[i].magic), str_of(rows[i].mime));

		if (t->vt != rows[i].vt || !str_eq_z(str_of(t->tag), rows[i].tag))
			fail_msg("'%s' is taken for %s", rows[i].magic, t->tag);
	}
}

static void by_number(void **state)
{
	unsigned known = 0;

	(void)state;
	for (uint32_t vt = 0; vt < 2000; vt++) {
		const struct filetype *t = filetype_by_id(vt);

		assert_true(t->vt == vt || t->vt == 0); /* the table is in order */
		/* The type's own tag ends its list, and names are complete. */
		assert_true(str_ends(str_of(t->tags), str_of(t->tag)));
		assert_true(t->description[0] != '\0' && t->extension != NULL);
		known += t->vt == vt;
	}
	assert_true(known >= 100);
	assert_string_equal(filetype_by_id(1)->tags, "executable windows win32 pe peexe");
	assert_string_equal(filetype_by_id(200)->tags, "document pdf");
	assert_string_equal(filetype_by_id(409)->tags, "script shell");
	assert_string_equal(filetype_by_id(300)->tags, "compressed zip");
	assert_string_equal(filetype_by_id(UINT32_MAX)->tag, "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_of_libmagic),
		cmocka_unit_test(by_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
