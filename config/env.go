package config

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expandEnv fills in ${NAME} and ${NAME:-default}; $${ is a plain ${. As in
// a shell, the default also stands in for a variable that is set and empty.
func expandEnv(s string) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		inner, rest, closed := strings.Cut(s[i+2:], "}")
		name, fallback, hasDefault := strings.Cut(inner, ":-")
		if !closed || !envName.MatchString(name) {
			return "", fmt.Errorf("write ${NAME}, ${NAME:-default}, or $${ for a plain ${")
		}
		value, set := os.LookupEnv(name)
		switch {
		case hasDefault && value == "":
			value = fallback
		case !set:
			return "", fmt.Errorf("environment variable %s is not set; set it or write ${%s:-default}", name, name)
		}
		b.WriteString(value)
		s = rest
	}
}
