// Command gendoc writes docs/configuration.md from the types of package
// config: their comments, their tags, and intro.md. `go generate ./config`
// runs it.
package main

import (
	_ "embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/logferry/logferry/config"
)

//go:embed intro.md
var intro string

func main() {
	if err := run(".", "../docs/configuration.md"); err != nil {
		fmt.Fprintln(os.Stderr, "gendoc:", err)
		os.Exit(1)
	}
}

func run(source, target string) error {
	page, err := generate(source)
	if err != nil {
		return err
	}
	return os.WriteFile(target, []byte(page), 0o644)
}

// generate returns the page for the package whose folder is source.
func generate(source string) (string, error) {
	docs, err := readComments(source)
	if err != nil {
		return "", err
	}
	g := &generator{docs: docs, places: map[reflect.Type][]string{}}
	g.visit(reflect.TypeFor[config.Config](), "")
	g.page.WriteString(intro)
	for _, t := range g.order {
		g.section(t)
	}
	return g.page.String(), nil
}

// comments are by type's name, and by type's and field's name with a dot between.
type comments map[string]string

func readComments(folder string) (comments, error) {
	found := comments{}
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, decl := range file.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok || d.Tok != token.TYPE {
				continue
			}
			for _, spec := range d.Specs {
				s := spec.(*ast.TypeSpec)
				fields, ok := s.Type.(*ast.StructType)
				if !ok {
					continue
				}
				found[s.Name.Name] = oneLine(d.Doc.Text())
				for _, f := range fields.Fields.List {
					for _, n := range f.Names {
						found[s.Name.Name+"."+n.Name] = oneLine(f.Doc.Text())
					}
				}
			}
		}
	}
	return found, nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

type generator struct {
	docs   comments
	order  []reflect.Type
	places map[reflect.Type][]string // the keys that have a type
	page   strings.Builder
}

// visit notes the sections of t, in the order of its fields.
func (g *generator) visit(t reflect.Type, key string) {
	if g.places[t] == nil {
		g.order = append(g.order, t)
	}
	g.places[t] = append(g.places[t], key)
	for i := range t.NumField() {
		f := t.Field(i)
		if section, suffix := sectionOf(f.Type); section != nil {
			g.visit(section, strings.TrimPrefix(key+"."+f.Tag.Get("yaml")+suffix, "."))
		}
	}
}

// sectionOf returns the struct in a field's type, or nil.
func sectionOf(t reflect.Type) (section reflect.Type, suffix string) {
	switch t.Kind() {
	case reflect.Pointer:
		t = t.Elem()
	case reflect.Slice:
		t, suffix = t.Elem(), "[]"
	}
	if t.Kind() != reflect.Struct {
		return nil, ""
	}
	return t, suffix
}

func (g *generator) section(t reflect.Type) {
	title := title(t)
	fmt.Fprintf(&g.page, "\n### %s\n\n", title)
	if places := g.places[t]; places[0] != "" {
		fmt.Fprintf(&g.page, "`%s`: ", strings.Join(places, "`, `"))
	}
	fmt.Fprintf(&g.page, "%s\n\n| key | type | default | |\n| --- | --- | --- | --- |\n", g.names(t, g.docs[t.Name()]))
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		shown := "`" + key + "`"
		if f.Type == reflect.TypeFor[config.Secret]() {
			shown += " or `" + key + "_file`"
		}
		fmt.Fprintf(&g.page, "| %s | %s | %s | %s |\n", shown, typeOf(f), defaultOf(f), strings.ReplaceAll(g.about(t, f), "|", `\|`))
	}
}

func title(t reflect.Type) string {
	if t == reflect.TypeFor[config.Config]() {
		return "The file"
	}
	return t.Name()
}

func typeOf(f reflect.StructField) string {
	if section, suffix := sectionOf(f.Type); section != nil {
		kind := "section"
		if suffix != "" {
			kind = "list of sections"
		}
		return fmt.Sprintf("%s: [%s](#%s)", kind, title(section), strings.ToLower(title(section)))
	}
	if words, ok := f.Tag.Lookup("enum"); ok {
		return "`" + strings.Join(strings.Fields(words), "`, `") + "`"
	}
	switch f.Type.Kind() {
	case reflect.Slice:
		return "list"
	case reflect.Map:
		return "words with values"
	case reflect.Float64:
		return "number"
	case reflect.Int:
		return "whole number"
	case reflect.Bool:
		return "`true`, `false`"
	}
	return strings.ToLower(f.Type.Name())
}

func defaultOf(f reflect.StructField) string {
	text, ok := f.Tag.Lookup("default")
	switch {
	case f.Tag.Get("required") != "":
		return "required"
	case !ok:
		return ""
	case f.Type.Kind() == reflect.Slice:
		return "`['" + text + "']`"
	}
	return "`" + text + "`"
}

// about is what a field's comment and tags say.
func (g *generator) about(t reflect.Type, f reflect.StructField) string {
	text := g.names(t, g.docs[t.Name()+"."+f.Name])
	low, hasLow := f.Tag.Lookup("min")
	high, hasHigh := f.Tag.Lookup("max")
	switch {
	case hasLow && hasHigh:
		text += fmt.Sprintf(" From %s to %s.", low, high)
	case hasLow && !strings.HasPrefix(low, "0"): // that nothing is negative goes without saying
		text += fmt.Sprintf(" At least %s.", low)
	}
	if f.Tag.Get("local") != "" {
		text += " From the local file alone."
	}
	return text
}

// names writes the names of t's Go fields as the keys that they are, and text as Markdown.
func (g *generator) names(t reflect.Type, text string) string {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name != t.Name() {
			text = regexp.MustCompile(`\b`+f.Name+`\b`).ReplaceAllString(text, "`"+f.Tag.Get("yaml")+"`")
		}
	}
	return strings.ReplaceAll(text, "*", `\*`)
}
