package config

import (
	"encoding/json"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// plainJSON rewrites, line by line, what JSON allows and the YAML parser does
// not: tabs between values, \/, and characters written as two \u escapes. A
// document that is not JSON comes back as it is.
func plainJSON(data []byte) []byte {
	if !json.Valid(data) {
		return data
	}
	plain := make([]byte, 0, len(data))
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '\t': // inside of a string it would not be valid JSON
			plain = append(plain, ' ')
		case c != '\\':
			plain = append(plain, c)
		case data[i+1] == '/': // valid JSON does not end with a backslash
		case data[i+1] == 'u' && surrogates(data[i:]) != utf8.RuneError:
			plain = utf8.AppendRune(plain, surrogates(data[i:]))
			i += 11
		default:
			plain = append(plain, c, data[i+1])
			i++
		}
	}
	return plain
}

// surrogates returns the character that data begins with as \uD83D\uDE00 would
// be, or utf8.RuneError.
func surrogates(data []byte) rune {
	if len(data) < 12 || data[6] != '\\' || data[7] != 'u' {
		return utf8.RuneError
	}
	high, _ := strconv.ParseUint(string(data[2:6]), 16, 16)
	low, _ := strconv.ParseUint(string(data[8:12]), 16, 16)
	return utf16.DecodeRune(rune(high), rune(low))
}
