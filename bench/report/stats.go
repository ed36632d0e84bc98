package report

import (
	"cmp"
	"fmt"
	"slices"
)

func sorted[S any, T cmp.Ordered](from []S, of func(S) T) []T {
	values := make([]T, len(from))
	for i, s := range from {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values
}

// Median of what of says of each; the upper one of two.
func Median[S any, T cmp.Ordered](from []S, of func(S) T) T {
	return sorted(from, of)[len(from)/2]
}

// Percentiles of values, which it sorts: the least, each of the 99, the most.
func Percentiles(values []float64) []float64 {
	slices.Sort(values)
	p := make([]float64, 101)
	for i := range p {
		p[i] = values[min(i*len(values)/100, len(values)-1)]
	}
	return p
}

// spread gives the median and, after more than one round, the range.
func spread[T cmp.Ordered](rounds []Round, of func(Round) T, text func(T) string) string {
	values := sorted(rounds, of)
	if len(values) == 1 {
		return text(values[0])
	}
	return fmt.Sprintf("%s (%s to %s)", text(values[len(values)/2]), text(values[0]), text(values[len(values)-1]))
}

func cpuOf(r Round) float64  { return r.CPU }
func rateOf(r Round) float64 { return r.Rate }
func peakOf(r Round) int64   { return r.Peak }

func micros(ns float64) string     { return fmt.Sprintf("%.2f", ns/1e3) }
func mebibytes(n int64) string     { return fmt.Sprint((n + 1<<19) >> 20) }
func millis(ms float64) string     { return fmt.Sprintf("%.1f ms", ms) }
func percent(share float64) string { return fmt.Sprintf("%.2f%%", 100*share) }

// grouped writes a whole number with commas, to three significant digits.
func grouped(f float64) string {
	n := int64(f + 0.5)
	for unit := int64(1); ; unit *= 10 {
		if n < unit*1000 {
			return Whole((n + unit/2) / unit * unit)
		}
	}
}

// Whole writes a number with commas.
func Whole[N int | int64](n N) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
