package report

import (
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// bars are what programs cost: the median as a bar, the range as a line on it.
func (r Results) bars(part, title, unit string) *plot.Plot {
	if r[part] == nil {
		return nil
	}
	p := panel(title, unit, "")
	var names []string
	highest := 0.0
	programs := slices.Clone(r[part].Programs)
	slices.Reverse(programs) // the first on top
	for i, row := range programs {
		costs := sorted(row.Rounds, func(r Round) float64 { return r.CPU / 1e3 })
		least, middle, most := costs[0], costs[len(costs)/2], costs[len(costs)-1]
		names = append(names, row.Name)
		highest = max(highest, most)
		addBar(p, float64(i), middle, 16, 0, true, colours[row.Name])
		if span, err := plotter.NewLine(plotter.XYs{{X: least, Y: float64(i)}, {X: most, Y: float64(i)}}); err == nil {
			span.Width = 1.2
			p.Add(span)
		}
		label(p, most, float64(i), fmt.Sprintf("%.2f", middle), vg.Point{X: 5}, draw.XLeft, draw.YCenter)
	}
	p.X.Min, p.X.Max, p.X.Tick.Marker = 0, highest*1.15, plain{}
	p.NominalY(names...)
	p.Y.Padding = roomForFonts
	return p
}

func addBar(p *plot.Plot, at, value float64, width, offset vg.Length, horizontal bool, of color.Color) {
	bar, err := plotter.NewBarChart(plotter.Values{value}, width)
	if err != nil {
		panic(err) // a width below zero
	}
	bar.XMin, bar.Offset, bar.Horizontal, bar.Color, bar.LineStyle.Width = at, offset, horizontal, of, 0
	p.Add(bar)
}

func label(p *plot.Plot, x, y float64, what string, offset vg.Point, ofX text.XAlignment, ofY text.YAlignment) {
	labels, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: x, Y: y}}, Labels: []string{what}})
	if err != nil {
		return // not a number
	}
	labels.TextStyle[0] = p.Legend.TextStyle
	labels.TextStyle[0].XAlign, labels.TextStyle[0].YAlign = ofX, ofY
	labels.Offset = offset
	p.Add(labels)
}

// delays shows which share of the lines took how long at most.
func (r Results) delays(part, title string) *plot.Plot {
	if r[part] == nil {
		return nil
	}
	p := panel(title, "ms", "% of the lines, at most so late")
	p.Add(grid(true))
	for _, d := range r[part].Delays {
		var xys plotter.XYs
		for i, ms := range d.Percentiles {
			xys = append(xys, plotter.XY{X: math.Log10(max(ms, 0.1)), Y: float64(i)})
		}
		if line(p, d.Name, xys, colours[d.Name]) != nil {
			return nil // not a number
		}
	}
	p.X.Tick.Marker, p.X.Min, p.X.Max = decades{}, -1, above(p.X.Max)
	p.Y.Min, p.Y.Max = 0, 100
	p.Legend.Top, p.Legend.XOffs, p.Legend.YOffs = false, 230, 8
	return p
}

// idle shows memory and CPU of programs with nothing to do.
func (r Results) idle() []*plot.Plot {
	if r["idle"] == nil {
		return nil
	}
	return []*plot.Plot{
		r.groups("Idle: memory", "MiB resident", func(i Idle) float64 { return float64(i.Memory) / (1 << 20) }, "%.0f"),
		r.groups("Idle: CPU", "% of one core", func(i Idle) float64 { return 100 * i.CPU }, "%.2f"),
	}
}

// groups are bars side by side for each number of files.
func (r Results) groups(title, unit string, of func(Idle) float64, format string) *plot.Plot {
	p := panel(title, "files", unit)
	p.Add(grid(false))
	var counts, names []string
	for _, i := range r["idle"].Idle {
		count := Whole(i.Files)
		if !slices.Contains(counts, count) {
			counts = append(counts, count)
		}
		if !slices.Contains(names, i.Name) {
			names = append(names, i.Name)
		}
		at, which := float64(len(counts)-1), slices.Index(names, i.Name)
		offset := vg.Length(which)*30 - 15
		addBar(p, at, of(i), 26, offset, false, colours[i.Name])
		label(p, at, of(i), fmt.Sprintf(format, of(i)), vg.Point{X: offset, Y: 3}, draw.XCenter, draw.YBottom)
		if at == 0 {
			bar, _ := plotter.NewBarChart(plotter.Values{0}, 1)
			bar.Color, bar.LineStyle.Width = colours[i.Name], 0
			p.Legend.Add(i.Name, bar)
		}
	}
	p.Y.Min, p.Y.Max, p.Y.Tick.Marker = 0, p.Y.Max*1.2, plain{}
	p.X.Min, p.X.Max = -0.5, float64(len(counts))-0.5
	p.NominalX(counts...)
	return p
}

// growth has one panel for the agent and one for the transfer: cost against X,
// both as multiples of their first point.
func (r Results) growth() []*plot.Plot {
	if r["growth"] == nil {
		return nil
	}
	ofAgent := []string{"files", "line", "ship-partitions", "ship-topics", "append"}
	panels := present(
		r.curves("Growth: agent", func(c Curve) bool { return slices.Contains(ofAgent, c.Name) }),
		r.curves("Growth: transfer", func(c Curve) bool { return !slices.Contains(ofAgent, c.Name) }),
	)
	least, most := -1.0, 1.0
	for _, p := range panels {
		least, most = min(least, math.Floor(p.Y.Min)), max(most, above(p.Y.Max))
	}
	for _, p := range panels { // to be compared
		p.Y.Min, p.Y.Max = least, most
	}
	return panels
}

func (r Results) curves(title string, shown func(Curve) bool) *plot.Plot {
	p := panel(title, "times as many, or as large, as at first", "times the CPU of the first")
	p.Add(grid(true))
	linear, err := plotter.NewLine(plotter.XYs{{X: 0, Y: 0}, {X: 1, Y: 1}})
	if err != nil {
		return nil
	}
	linear.Color, linear.Dashes = grey, []vg.Length{4, 3}
	p.Add(linear)
	p.Legend.Add("linear", linear)
	palette := []color.Color{blue, orange, green, yellow, purple}
	i := 0
	for _, c := range r["growth"].Curves {
		if !shown(c) {
			continue
		}
		var xys plotter.XYs
		for _, point := range c.Points {
			xys = append(xys, plotter.XY{X: math.Log10(point.X / c.Points[0].X), Y: math.Log10(point.Cost / c.Points[0].Cost)})
		}
		if line(p, c.Of+", CPU a "+c.Item, xys, palette[i%len(palette)]) != nil {
			return nil // not a number
		}
		i++
	}
	p.X.Tick.Marker, p.X.Min, p.X.Max = decades{}, 0, above(p.X.Max)
	p.Y.Tick.Marker = decades{}
	p.Legend.Top, p.Legend.YOffs = false, 8
	return p
}

// above is the next whole number.
func above(v float64) float64 { return math.Ceil(v - 1e-9) }

// decades are ticks of an axis of decimal logarithms: numbers at 1, 10, 100,
// marks between. The library's own scale finds no good place for the label of
// such an axis.
type decades struct{}

// Ticks implements plot.Ticker.
func (decades) Ticks(least, most float64) []plot.Tick {
	var ticks []plot.Tick
	for at := math.Floor(least); at <= most; at++ {
		ticks = append(ticks, plot.Tick{Value: at, Label: number(math.Pow(10, at))})
		for i := 2.0; i < 10 && at < most; i++ {
			ticks = append(ticks, plot.Tick{Value: at + math.Log10(i)})
		}
	}
	return ticks
}

// plain are ticks of a linear axis, with the fewest digits.
type plain struct{}

// Ticks implements plot.Ticker.
func (plain) Ticks(least, most float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(least, most)
	for i := range ticks {
		if !ticks[i].IsMinor() {
			ticks[i].Label = number(ticks[i].Value)
		}
	}
	return ticks
}

func number(v float64) string {
	if v >= 1000 {
		return Whole(int64(math.Round(v)))
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
