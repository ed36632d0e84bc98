package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
)

var words = []string{
	"accepted", "after", "backend", "cache", "client", "closed", "connection", "cart", "checkout", "error",
	"handled", "in", "order", "payment", "queue", "refused", "request", "retry", "session", "slow",
	"timeout", "token", "upstream", "user", "warehouse", "with", "worker",
}

// appendLine appends line n without its newline, size bytes exactly, the same
// for the same n: a JSON object of text that compresses as logs do, or, where
// that does not fit, the number and text.
func appendLine(dst []byte, n, size int) []byte {
	start := len(dst)
	random := rand.New(rand.NewPCG(uint64(n), 7))
	if size < minJSON {
		dst = fmt.Appendf(dst, "%010d ", n)
		return appendWords(dst, random, start+size)
	}
	dst = append(dst, `{"time":"2026-03-04T05:06:07.`...)
	dst = fmt.Appendf(dst, "%03dZ", n%1000)
	dst = append(dst, `","level":"info","n":`...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	dst = append(dst, `,"code":`...)
	dst = strconv.AppendInt(dst, int64(200+random.IntN(4)*100), 10)
	dst = append(dst, `,"msg":"`...)
	return append(appendWords(dst, random, start+size-2), `"}`...)
}

// appendWords appends words until dst has that length.
func appendWords(dst []byte, random *rand.Rand, length int) []byte {
	for len(dst) < length {
		dst = append(dst, words[random.IntN(len(words))]...)
		dst = append(dst, ' ')
	}
	return dst[:length]
}

// minJSON is the least size that holds JSON, minLine that of any line.
const (
	minJSON = 100
	minLine = 12
)

// writeLines writes a file of count lines.
func writeLines(path string, count, size int) error {
	if size < minLine {
		return fmt.Errorf("a line needs %d bytes at least", minLine)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	var line []byte
	for n := range count {
		line = append(appendLine(line[:0], n, size), '\n')
		if _, err := w.Write(line); err != nil {
			_ = f.Close()
			return err
		}
	}
	if err := w.Flush(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
