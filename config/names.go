package config

import (
	"errors"
	"fmt"
	"strings"
)

const wordBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

// words are the names of one kind: 1 to most bytes of a set. Each as a regular
// expression would be 200 KiB of a program, in every process and for good.
type words struct {
	bytes string
	most  int
}

var (
	topicName = words{wordBytes, 249}
	nodeName  = words{wordBytes, 200}
	labelWord = words{wordBytes, 100}
	entryName = words{wordBytes + "/", 200}
	wildcards = words{wordBytes + "*?", 249}
)

// MatchString says whether name is one of them.
func (w words) MatchString(name string) bool {
	return len(name) > 0 && len(name) <= w.most && strings.Trim(name, w.bytes) == ""
}

// CheckTopic says what is wrong with the name of a Kafka topic, or returns nil.
func CheckTopic(name string) error {
	if !topicName.MatchString(name) || name == "." || name == ".." {
		return fmt.Errorf("%q is not a topic name; use at most 249 letters, digits, '.', '_' and '-'", name)
	}
	return nil
}

// CheckIndex says what is wrong with the name of an index, alias or data
// stream by Elasticsearch's rules and ours, or returns nil. Names that begin
// with a dot, which Elasticsearch keeps for itself, are refused too.
func CheckIndex(name string) error {
	switch {
	case name == "":
		return errors.New("an index name is empty")
	case len(name) > 255:
		return fmt.Errorf("index name %.20q... is longer than 255 bytes", name)
	case strings.ContainsRune("-_+.", rune(name[0])):
		return fmt.Errorf("index name %q begins with %q", name, name[0])
	case name != strings.ToLower(name):
		return fmt.Errorf("index name %q is not in lower case", name)
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f || strings.ContainsRune("\\/*?\"<>| ,#:\uFFFD", r) {
			return fmt.Errorf("index name %q holds %q", name, r)
		}
	}
	return nil
}

// MatchAny says whether name matches one of the globs, in which * stands for
// any characters and ? for any one byte. It is how the allowed_* lists of
// topics and indices are read.
func MatchAny(globs []string, name string) bool {
	for _, g := range globs {
		if matchGlob(g, name) {
			return true
		}
	}
	return false
}

// matchGlob goes back to the last star only, so its time is bounded by the
// product of both lengths.
func matchGlob(glob, name string) bool {
	g, n, star, retry := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, retry = g, n
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == name[n]):
			g++
			n++
		case star >= 0:
			retry++
			g, n = star+1, retry
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}
