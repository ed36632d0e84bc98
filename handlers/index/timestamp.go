package index

import (
	"bytes"
	"strconv"
	"time"
)

// A date of a year outside these is a clock that was never set, a counter or
// a number that means something else.
const (
	firstYear = 1990
	lastYear  = 2099
)

var (
	firstSecond = time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	lastSecond  = time.Date(lastYear+1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
)

func sane(t time.Time) bool {
	s := t.Unix()
	return s >= firstSecond && s < lastSecond
}

// layouts are what parseISO does not read. A layout without a year or with a
// zone's bare abbreviation, which Go reads as UTC, is not among them.
var layouts = []string{
	"02/Jan/2006:15:04:05 -0700", // web servers
	"2006/01/02 15:04:05",
	time.RFC1123,
	time.RFC1123Z,
	time.RFC850,
	time.ANSIC,
	time.RubyDate,
	"2006-01-02 15:04:05 -0700 MST",
	"20060102T150405Z0700",
}

// parseTime reads a JSON value as a date of a sane year: a string in ISO 8601
// or a common layout, or seconds, milliseconds, microseconds or nanoseconds
// since 1970 as a number or as a string of one. A date without a zone is UTC.
// native says that Elasticsearch's own default format reads the value too.
func parseTime(value []byte) (t time.Time, native, ok bool) {
	if len(value) == 0 || len(value) > 64 {
		return t, false, false
	}
	if value[0] != '"' {
		t, ok = parseUnix(value)
		return t, false, ok && sane(t)
	}
	value = value[1 : len(value)-1]
	if t, native, ok = parseISO(value); ok {
		return t, native, sane(t)
	}
	if t, ok = parseUnix(value); ok {
		return t, false, sane(t)
	}
	if len(value) < len("20060102T150405Z") || bytes.IndexByte(value, '\\') >= 0 {
		return t, false, false
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, string(value)); err == nil {
			return t.UTC(), false, sane(t)
		}
	}
	return t, false, false
}

// parseISO reads 2006-01-02, then T or a space and 15:04[:05[.fraction]], then
// Z, +01:00, +0100, +01 or nothing. native is false for what
// strict_date_optional_time refuses: a space for the T, more digits than
// nanoseconds need.
func parseISO(b []byte) (t time.Time, native, ok bool) {
	if len(b) < 10 || b[4] != '-' || b[7] != '-' {
		return t, false, false
	}
	year, ok1 := number(b[0:4])
	month, ok2 := number(b[5:7])
	day, ok3 := number(b[8:10])
	if !ok1 || !ok2 || !ok3 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return t, false, false
	}
	native = true
	var hour, minute, second, nanos, zone int
	if b = b[10:]; len(b) > 0 {
		if b[0] != 'T' {
			native = false
			if b[0] != ' ' && b[0] != 't' {
				return t, false, false
			}
		}
		if len(b) < 6 || b[3] != ':' {
			return t, false, false
		}
		hour, ok1 = number(b[1:3])
		minute, ok2 = number(b[4:6])
		if !ok1 || !ok2 || hour > 23 || minute > 59 {
			return t, false, false
		}
		b = b[6:]
		if len(b) >= 3 && b[0] == ':' {
			if second, ok1 = number(b[1:3]); !ok1 || second > 59 {
				return t, false, false
			}
			b = b[3:]
			if len(b) > 1 && (b[0] == '.' || b[0] == ',') {
				digits := 0
				scale := 100_000_000
				for b = b[1:]; digits < len(b) && b[digits]-'0' <= 9; digits++ {
					nanos += int(b[digits]-'0') * scale
					scale /= 10
				}
				if digits == 0 {
					return t, false, false
				}
				native = native && digits <= 9
				b = b[digits:]
			}
		}
		if len(b) > 1 && b[0] == ' ' {
			native = false
			b = b[1:]
		}
		if zone, ok = parseZone(b); !ok {
			return t, false, false
		}
		if len(b) > 0 && b[0] == 'z' {
			native = false
		}
	}
	t = time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	return t.Add(-time.Duration(zone) * time.Second), native, true
}

func parseZone(b []byte) (seconds int, ok bool) {
	switch {
	case len(b) == 0, len(b) == 1 && b[0]|0x20 == 'z':
		return 0, true
	case len(b) < 3 || b[0] != '+' && b[0] != '-':
		return 0, false
	}
	hours, ok := number(b[1:3])
	if !ok || hours > 18 {
		return 0, false
	}
	minutes := 0
	switch rest := b[3:]; {
	case len(rest) == 0:
	case len(rest) == 2:
		minutes, ok = number(rest)
	case len(rest) == 3 && rest[0] == ':':
		minutes, ok = number(rest[1:])
	default:
		ok = false
	}
	if !ok || minutes > 59 {
		return 0, false
	}
	seconds = hours*3600 + minutes*60
	if b[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// parseUnix reads a number, whose unit follows from its size: the ranges of
// sane seconds, milliseconds, microseconds and nanoseconds do not meet.
func parseUnix(b []byte) (time.Time, bool) {
	whole, fraction := b, []byte(nil)
	if dot := bytes.IndexByte(b, '.'); dot >= 0 {
		whole, fraction = b[:dot], b[dot+1:]
	}
	if len(whole) < 9 || len(whole) > 19 {
		return time.Time{}, false
	}
	v, err := strconv.ParseInt(string(whole), 10, 64)
	if err != nil || v < 0 {
		return time.Time{}, false
	}
	switch {
	case v < lastSecond:
		nanos := 0
		if len(fraction) > 0 {
			scale := 100_000_000
			for _, c := range fraction {
				if c-'0' > 9 {
					return time.Time{}, false
				}
				nanos += int(c-'0') * scale
				scale /= 10
			}
		}
		return time.Unix(v, int64(nanos)).UTC(), true
	case v < lastSecond*1e3:
		return time.UnixMilli(v).UTC(), true
	case v < lastSecond*1e6:
		return time.UnixMicro(v).UTC(), true
	}
	return time.Unix(v/1e9, v%1e9).UTC(), true
}

func number(digits []byte) (int, bool) {
	n := 0
	for _, c := range digits {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// clock writes times, and remembers the text of the last second.
type clock struct {
	second int64
	text   [len("2006-01-02T15:04:05")]byte
}

// append appends t in UTC, in quotes, with milliseconds, or with nanoseconds
// when it has them.
func (c *clock) append(dst []byte, t time.Time) []byte {
	if s := t.Unix(); s != c.second || c.text[0] == 0 {
		t.UTC().AppendFormat(c.text[:0], "2006-01-02T15:04:05")
		c.second = s
	}
	dst = append(dst, '"')
	dst = append(dst, c.text[:]...)
	dst = append(dst, '.')
	digits, v := 3, t.Nanosecond()/1e6
	if t.Nanosecond()%1e6 != 0 {
		digits, v = 9, t.Nanosecond()
	}
	for scale := pow10[digits-1]; scale > 0; scale /= 10 {
		dst = append(dst, byte('0'+v/scale%10))
	}
	return append(dst, 'Z', '"')
}

var pow10 = [...]int{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}
