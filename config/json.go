package config

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"unicode/utf16"
)

var surrogates = regexp.MustCompile(`(\\+)u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})`)

// plainJSON rewrites, line by line, what JSON allows and the YAML parser does
// not: tabs between values, and characters written as two \u escapes. A
// document that is not JSON comes back as it is.
func plainJSON(data []byte) []byte {
	if !json.Valid(data) {
		return data
	}
	// A tab inside of a string is not valid JSON, so every one is white space.
	data = bytes.ReplaceAll(data, []byte("\t"), []byte(" "))
	return surrogates.ReplaceAllFunc(data, func(m []byte) []byte {
		part := surrogates.FindSubmatch(m)
		if len(part[1])%2 == 0 {
			return m // the backslashes escape each other
		}
		high, _ := strconv.ParseUint(string(part[2]), 16, 16)
		low, _ := strconv.ParseUint(string(part[3]), 16, 16)
		return append(part[1][:len(part[1])-1:len(part[1])-1], string(utf16.DecodeRune(rune(high), rune(low)))...)
	})
}
