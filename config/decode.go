package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDocument bounds a file or document; etcd refuses more than 1.5 MiB by itself.
	maxDocument = 1 << 20
	// maxList bounds every list: inputs, routes, paths, topics, seed entries.
	maxList = 1000
	// maxNodes bounds the values that are decoded: aliases make a small
	// document name many. 1,000 inputs of 40 values each are well below.
	maxNodes = 200_000
)

// decoder turns one document into a typed value. It notes the line of every
// key, so that rules that are checked afterwards can name it.
type decoder struct {
	file  string
	live  bool // the document comes from etcd: no local keys, no environment
	lines map[string]int
	nodes int
	errs  Errors
}

func newDecoder(file string) *decoder { return &decoder{file: file, lines: map[string]int{}} }

// fail notes an error at a key. A key that is not in the document is blamed on
// the nearest one around it that is.
func (d *decoder) fail(key, format string, args ...any) {
	if slices.ContainsFunc(d.errs.All, func(e Error) bool { return e.Key == key && key != "" }) {
		return // what is wrong first is the cause of the rest
	}
	line, at := 0, key
	if key == "" {
		line = d.lines[""]
	}
	for ; at != ""; at = at[:max(strings.LastIndexAny(at, ".["), 0)] {
		if line = d.lines[at]; line > 0 {
			break
		}
	}
	d.failAt(line, key, format, args...)
}

func (d *decoder) failAt(line int, key, format string, args ...any) {
	if d.full() {
		return
	}
	d.errs.All = append(d.errs.All, Error{d.file, line, printable(key), printable(fmt.Sprintf(format, args...))})
}

// maxText is as much of a document's own words as an error repeats.
const maxText = 500

// printable keeps what a document says from breaking a terminal or a log.
func printable(s string) string {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// full says that a document has so many errors that looking for more of them
// only costs time.
func (d *decoder) full() bool { return len(d.errs.All) >= maxErrors }

// decode sets *v to its defaults and then to what data says. An empty document says nothing.
func (d *decoder) decode(data []byte, v any) {
	rv := reflect.ValueOf(v).Elem()
	setDefaults(rv)
	root := d.parse(data)
	if root == nil {
		return
	}
	d.lines[""] = root.Line
	d.value("", root, rv, "")
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// parse returns the root of the only document in data, or nil.
func (d *decoder) parse(data []byte) *yaml.Node {
	if len(data) > maxDocument {
		d.failAt(0, "", "is larger than %s", Size(maxDocument))
		return nil
	}
	for line, rest := 1, data; len(rest) > 0; line++ {
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 {
			end = len(rest)
		}
		if !utf8.Valid(rest[:end]) || bytes.IndexByte(rest[:end], 0) >= 0 {
			d.failAt(line, "", "is not text in UTF-8")
			return nil
		}
		rest = rest[end:]
	}
	dec := yaml.NewDecoder(bytes.NewReader(plainJSON(data)))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if err == nil {
		if more := dec.Decode(&second); more == nil {
			d.failAt(second.Line, "", "a second document begins here; write one only")
			return nil
		} else if !errors.Is(more, io.EOF) {
			err = more
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		line, text := 1, err.Error() // the parser does not say the first line
		if m := yamlLine.FindStringSubmatch(text); m != nil {
			line, _ = strconv.Atoi(m[1])
			text = text[len(m[0]):]
		}
		if strings.Contains(text, "did not find expected") {
			text += "; look at the indentation of what begins here"
		}
		d.failAt(line, "", "is not YAML: %s", strings.TrimPrefix(text, "yaml: "))
		return nil
	}
	return doc.Content[0]
}

// value decodes n, the value of key, into v.
func (d *decoder) value(key string, n *yaml.Node, v reflect.Value, tag reflect.StructTag) {
	if d.nodes++; d.nodes > maxNodes || d.full() {
		if d.nodes == maxNodes+1 {
			d.failAt(n.Line, key, "the document holds more than %d values", maxNodes)
		}
		return
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return // a key without a value is as if it were not there
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setDefaults(v.Elem())
		d.value(key, n, v.Elem(), tag)
	case reflect.Struct:
		if word, ok := tag.Lookup("word"); ok && n.Kind == yaml.ScalarNode {
			f := fieldsOf(v)[word] // one word stands for the section
			d.value(key, n, f.value, f.tag)
			return
		}
		d.mapping(key, n, v)
	case reflect.Slice:
		d.list(key, n, v)
	case reflect.Map:
		d.words(key, n, v)
	default:
		d.scalar(key, n, v, tag)
	}
}

func (d *decoder) list(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.fail(key, "is %s; write a list: [a, b]", kindOf(n))
		return
	}
	if len(n.Content) > maxList {
		d.fail(key, "holds %d values; at most %d are allowed", len(n.Content), maxList)
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", key, i)
		d.lines[at] = item.Line
		setDefaults(list.Index(i))
		d.value(at, item, list.Index(i), "")
		if item.Kind == yaml.ScalarNode && item.ShortTag() == "!!null" {
			d.fail(at, "is empty")
		}
	}
	v.Set(list)
}

// words decodes a map of words that the user chooses.
func (d *decoder) words(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.fail(key, "is %s; write words with values: {word: value}", kindOf(n))
		return
	}
	words := map[string]string{}
	for i := 0; i+1 < len(n.Content) && !d.full(); i += 2 {
		name, value := n.Content[i].Value, n.Content[i+1]
		at := join(key, name)
		if _, twice := words[name]; twice {
			d.failAt(n.Content[i].Line, at, "is given twice")
			continue
		}
		d.lines[at] = n.Content[i].Line
		var text string
		d.value(at, value, reflect.ValueOf(&text).Elem(), "")
		words[name] = text
	}
	v.Set(reflect.ValueOf(words))
}

func (d *decoder) scalar(key string, n *yaml.Node, v reflect.Value, tag reflect.StructTag) {
	if n.Kind != yaml.ScalarNode {
		d.fail(key, "is %s; write a single value", kindOf(n))
		return
	}
	text := n.Value
	if strings.Contains(text, "${") {
		if d.live {
			d.fail(key, "the environment (${...}) can only be used in the local file")
			return
		}
		var err error
		if text, err = expandEnv(text); err != nil {
			d.fail(key, "%s", err)
			return
		}
	}
	given := reflect.New(v.Type()).Elem()
	err := setScalar(given, text)
	if err == nil {
		err = inRange(given, text, tag)
	}
	if err != nil {
		d.fail(key, "%s", err)
		return
	}
	v.Set(given)
}

// setScalar reads text as v's type.
func setScalar(v reflect.Value, text string) error {
	switch p := v.Addr().Interface().(type) {
	case *Size:
		size, err := ParseSize(text)
		*p = size
		return err
	case *Duration:
		duration, err := ParseDuration(text)
		*p = duration
		return err
	case *bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		*p = text == "true"
	case *int:
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*p = int(n)
	case *float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || f-f != 0 { // neither infinite nor not a number
			return fmt.Errorf("%q is not a number", text)
		}
		*p = f
	default: // string, Secret
		v.SetString(text)
	}
	return nil
}

// inRange checks the tags enum, min and max.
func inRange(v reflect.Value, text string, tag reflect.StructTag) error {
	if words, ok := tag.Lookup("enum"); ok {
		for _, word := range strings.Fields(words) {
			if text == word {
				return nil
			}
		}
		return fmt.Errorf("%q is none of %s", text, strings.Join(strings.Fields(words), ", "))
	}
	for name, sign := range map[string]float64{"min": 1, "max": -1} {
		bound, ok := tag.Lookup(name)
		if !ok {
			continue
		}
		limit := reflect.New(v.Type()).Elem()
		if err := setScalar(limit, bound); err != nil {
			panic(err)
		}
		if sign*(number(v)-number(limit)) < 0 {
			return fmt.Errorf("%s is out of range: %s is %s", text, name, bound)
		}
	}
	return nil
}

func number(v reflect.Value) float64 {
	if v.CanFloat() {
		return v.Float()
	}
	return float64(v.Int())
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}

// readSecret returns a file's contents without the newline at its end.
func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > 64<<10 {
		return "", fmt.Errorf("%s is not a file of at most 64KiB", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}
