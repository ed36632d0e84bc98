package config

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// field is one key of a section.
type field struct {
	value reflect.Value
	tag   reflect.StructTag
}

func fieldsOf(v reflect.Value) map[string]field {
	fields := map[string]field{}
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		fields[tag.Get("yaml")] = field{v.Field(i), tag}
	}
	return fields
}

var secretType = reflect.TypeFor[Secret]()

// mapping decodes a section: known keys only, each once, and all that are required.
func (d *decoder) mapping(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.fail(key, "is %s; write keys with values: {key: value}", kindOf(n))
		return
	}
	fields := fieldsOf(v)
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content) && !d.full(); i += 2 {
		name, value := n.Content[i].Value, n.Content[i+1]
		line, at := n.Content[i].Line, join(key, name)
		if seen[name] {
			d.failAt(line, at, "is given twice")
			continue
		}
		seen[name] = true
		d.lines[at] = line
		f, known := fields[name]
		base, fromFile := strings.CutSuffix(name, "_file")
		secret, isSecret := fields[base]
		switch {
		case known && d.live && f.tag.Get("local") != "":
			d.fail(at, "can only be set in the local file")
		case known:
			d.value(at, value, f.value, f.tag)
		case fromFile && isSecret && secret.value.Type() == secretType:
			d.secretFile(at, value, secret.value)
			if seen[base] {
				d.fail(at, "%s is given too; write one of them", base)
			}
			seen[base] = true
		default:
			d.fail(at, "%s", d.unknown(key, name, fields))
		}
	}
	for name, f := range fields {
		if f.tag.Get("required") != "" && (!seen[name] || empty(f.value) && !d.failed(join(key, name))) {
			d.fail(join(key, name), "is required")
		}
	}
}

func empty(v reflect.Value) bool {
	return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0
}

// failed says whether a key, or something in it, has an error already.
func (d *decoder) failed(key string) bool {
	return slices.ContainsFunc(d.errs.All, func(e Error) bool {
		return e.Key == key || e.Key == key+"_file" || strings.HasPrefix(e.Key, key+"[")
	})
}

func (d *decoder) secretFile(key string, n *yaml.Node, v reflect.Value) {
	var path string
	d.value(key, n, reflect.ValueOf(&path).Elem(), "")
	if path == "" {
		return
	}
	secret, err := readSecret(path)
	if err != nil {
		d.fail(key, "%s", err)
		return
	}
	v.SetString(secret)
}

// later are keys that the config format knows and this version does not.
var later = []string{"filters"}

// unknown says what may have been meant by a key that a section does not have.
func (d *decoder) unknown(section, name string, fields map[string]field) string {
	if slices.Contains(later, name) {
		return "is not supported by this version"
	}
	if d.live && section == "" {
		if name == "agent" || name == "transfer" {
			return "write the content of this section at the top of the document"
		}
		if _, ok := fieldsOf(reflect.ValueOf(Config{}))[name]; ok {
			return "can only be set in the local file"
		}
	}
	best, distance := "", min(3, len(name)/2+1) // the shorter a key, the less of it may be wrong
	for known, f := range fields {
		names := []string{known}
		if f.value.Type() == secretType {
			names = append(names, known+"_file")
		}
		for _, k := range names {
			if n := editDistance(name, k); n < distance || n == distance && k < best {
				best, distance = k, n
			}
		}
	}
	if best == "" {
		return "unknown key"
	}
	return "unknown key; did you mean " + best + "?"
}

// editDistance counts insertions, removals and replacements of bytes. Long
// keys are no misspelling of ours, and are not compared.
func editDistance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func join(section, key string) string {
	if section == "" {
		return key
	}
	return section + "." + key
}

// Default returns a section as it is when its document is empty, as in
// Default[Input](). Keys that are required stay empty.
func Default[T any]() T {
	var v T
	setDefaults(reflect.ValueOf(&v).Elem())
	return v
}

// setDefaults fills v from the tags of its type.
func setDefaults(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	for _, f := range fieldsOf(v) {
		text, ok := f.tag.Lookup("default")
		switch {
		case f.value.Kind() == reflect.Struct:
			setDefaults(f.value)
		case !ok:
		case f.value.Kind() == reflect.Slice:
			f.value.Set(reflect.ValueOf([]string{text}))
		default:
			if err := setScalar(f.value, text); err != nil {
				panic(err)
			}
		}
	}
}
