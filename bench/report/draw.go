package report

import (
	"bytes"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colours that people who see fewer of them can tell apart.
var (
	silver = color.RGBA{0xbb, 0xbb, 0xbb, 0xff}
	grey   = color.RGBA{0x88, 0x88, 0x88, 0xff}
	blue   = color.RGBA{0x00, 0x72, 0xb2, 0xff}
	orange = color.RGBA{0xd5, 0x5e, 0x00, 0xff}
	yellow = color.RGBA{0xe6, 0x9f, 0x00, 0xff}
	green  = color.RGBA{0x00, 0x9e, 0x73, 0xff}
	purple = color.RGBA{0xa0, 0x50, 0x90, 0xff}
	rule   = color.RGBA{0xe4, 0xe4, 0xe4, 0xff}
)

// colours are by the names of programs, which keep theirs in all pictures.
var colours = map[string]color.Color{
	Limit: grey, "headers": silver, "floor": grey, "logferry": blue, "rsyslog": orange, "rsyslog, same work": yellow, "logferry up": green,
}

// roomForFonts is left where text ends: where neither Liberation nor its likes
// are installed, it is wider than was reckoned.
const roomForFonts = 14

// Draw writes the pictures of the parts that are there into a folder, as
// bench-NAME.svg.
func (r Results) Draw(dir string) error {
	pictures := []struct {
		name   string
		height vg.Length
		panels []*plot.Plot
	}{
		{"cost", 150, present(r.bars("ship", "File to Kafka", "µs of CPU a line"), r.bars("index", "Kafka to a null _bulk", "µs of CPU a document"))},
		{"delay", 230, present(r.delays("delay", "From append to consumable"), r.delays("search", "From append to the sink"))},
		{"idle", 190, r.idle()},
		{"growth", 270, r.growth()},
	}
	for _, p := range pictures {
		if len(p.panels) == 0 {
			continue
		}
		svg, err := tile(p.panels, 400, p.height)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "bench-"+p.name+".svg"), svg, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func present(panels ...*plot.Plot) []*plot.Plot {
	var there []*plot.Plot
	for _, p := range panels {
		if p != nil {
			there = append(there, p)
		}
	}
	return there
}

// tile draws panels side by side on white, which is readable on a dark page too.
func tile(panels []*plot.Plot, width, height vg.Length) ([]byte, error) {
	canvas := vgsvg.NewWith(vgsvg.UseWH(width*vg.Length(len(panels)), height))
	all := draw.New(canvas)
	all.FillPolygon(color.White, []vg.Point{{X: all.Min.X, Y: all.Min.Y}, {X: all.Max.X, Y: all.Min.Y}, {X: all.Max.X, Y: all.Max.Y}, {X: all.Min.X, Y: all.Max.Y}})
	tiles := draw.Tiles{Rows: 1, Cols: len(panels), PadX: 24, PadTop: 10, PadBottom: 10, PadLeft: 10, PadRight: 16}
	for i, p := range panels {
		p.Draw(tiles.At(all, i, 0))
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return nil, err
	}
	// Arial and Helvetica have the same widths, where Liberation is not installed.
	return bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")), nil
}

func panel(title, x, y string) *plot.Plot {
	p := plot.New()
	sans := font.Font{Typeface: "Liberation", Variant: "Sans"}
	set := func(style *text.Style, size vg.Length) {
		style.Font = sans
		style.Font.Size = size
	}
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding, p.Legend.Top, p.Legend.Left = 8, true, true
	p.Legend.Padding, p.Legend.XOffs, p.Legend.YOffs = 2, 6, -4
	set(&p.Title.TextStyle, 13)
	set(&p.X.Label.TextStyle, 10)
	set(&p.Y.Label.TextStyle, 10)
	set(&p.X.Tick.Label, 9)
	set(&p.Y.Tick.Label, 9)
	set(&p.Legend.TextStyle, 9)
	p.X.LineStyle.Width, p.Y.LineStyle.Width = 0.5, 0.5
	p.X.Tick.LineStyle.Width, p.Y.Tick.LineStyle.Width = 0.5, 0.5
	return p
}

func grid(vertical bool) *plotter.Grid {
	g := plotter.NewGrid()
	g.Horizontal.Color, g.Vertical.Color = rule, rule
	if !vertical {
		g.Vertical.Color = nil
	}
	return g
}

// line adds a line with a legend; with dots at its points if they are few.
func line(p *plot.Plot, name string, xys plotter.XYs, of color.Color) error {
	l, dots, err := plotter.NewLinePoints(xys)
	if err != nil {
		return err
	}
	l.Color, l.Width = of, 1.6
	dots.Color, dots.Shape, dots.Radius = of, draw.CircleGlyph{}, 2.4
	p.Add(l)
	if len(xys) < 20 {
		p.Add(dots)
	}
	p.Legend.Add(name, l)
	return nil
}
