package tail

import (
	"bytes"
	"errors"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// code is an encoding that lines are decoded from.
type code struct {
	encoding.Encoding
	unit  int    // bytes of a newline; characters begin at its multiples
	low   int    // index in a newline of its byte 0x0A
	bom   string // the mark that a file may begin with
	grows int    // bytes of UTF-8 that a byte becomes at most
}

var codes = map[string]*code{
	"utf-16le": {unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), 2, 0, "\xff\xfe", 2},
	"utf-16be": {unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM), 2, 1, "\xfe\xff", 2},
	// No byte of a character of several is 0x0A.
	"gb18030": {simplifiedchinese.GB18030, 1, 0, "\x84\x31\x95\x33", 3},
	"latin1":  {charmap.ISO8859_1, 1, 0, "", 2},
}

// newline returns the index of the first newline in b, which begins at a whole
// character, or -1. A nil c is UTF-8.
func (c *code) newline(b []byte) int {
	if c == nil || c.unit == 1 {
		return bytes.IndexByte(b, '\n')
	}
	for at := 0; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return -1
		}
		i += at
		at = i + 1
		if start := i - c.low; i%2 == c.low && start+1 < len(b) && b[start+1-c.low] == 0 {
			return start
		}
	}
}

// lastNewline returns the index of the last newline in b, or -1.
func (c *code) lastNewline(b []byte) int {
	for end := len(b); ; {
		i := bytes.LastIndexByte(b[:end], '\n')
		if i < 0 || c == nil || c.unit == 1 {
			return i
		}
		end = i
		if start := i - c.low; i%2 == c.low && start+1 < len(b) && b[start+1-c.low] == 0 {
			return start
		}
	}
}

// decodeText appends the text of src to dst. Bytes that are no character become
// U+FFFD, those at the end too when whole says that nothing belongs to them.
// It returns how many bytes of src it took.
func decodeText(d *encoding.Decoder, dst, src []byte, whole bool) ([]byte, int) {
	d.Reset()
	taken := 0
	for {
		n, m, err := d.Transform(dst[len(dst):cap(dst)], src[taken:], whole)
		dst, taken = dst[:len(dst)+n], taken+m
		if !errors.Is(err, transform.ErrShortDst) {
			return dst, taken
		}
		dst = append(dst, make([]byte, len(src)-taken+64)...)[:len(dst)]
	}
}
