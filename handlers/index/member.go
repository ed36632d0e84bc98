package index

import "encoding/json"

// member is one member of a valid JSON object. The functions of this file
// trust that scan accepted the bytes.
type member struct {
	ok bool
	// key is between its quotes, value is the whole value.
	key, value span
	escaped    bool
}

// path returns the member's name with its escapes resolved.
func (m *member) path(object []byte) []byte {
	if m.escaped {
		return unquote(m.key.of(object))
	}
	return m.key.of(object)
}

func firstMember(object []byte) member { return memberAt(object, 1) }

func nextMember(object []byte, m member) member {
	i := spaces(object, m.value.to)
	if i < len(object) && object[i] == ',' {
		return memberAt(object, i+1)
	}
	return member{}
}

func memberAt(object []byte, i int) member {
	i = spaces(object, i)
	if i >= len(object) || object[i] != '"' {
		return member{}
	}
	end, escaped, _ := skipString(object, i+1)
	if end < 0 {
		return member{}
	}
	m := member{ok: true, key: span{i + 1, end}, escaped: escaped}
	i = spaces(object, spaces(object, end+1)+1) // over the colon
	m.value = span{i, skipValue(object, i)}
	return m
}

// skipValue returns the end of the value at i.
func skipValue(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			end, _, _ := skipString(b, i+1)
			if end < 0 {
				return len(b)
			}
			i = end
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // the end of a scalar before it
			}
			depth--
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
			i++
			continue
		default:
			i++
			continue
		}
		i++
		if depth == 0 {
			return i
		}
	}
	return i
}

func spaces(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// unquote resolves the escapes of a key, which is given without its quotes.
func unquote(key []byte) []byte {
	var s string
	quoted := append(append([]byte{'"'}, key...), '"')
	if json.Unmarshal(quoted, &s) != nil {
		return key
	}
	return []byte(s)
}
