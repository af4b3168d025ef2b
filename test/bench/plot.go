package main

import (
	"fmt"
	"math"
	"strings"
)

// The measures of a plot, in pixels.
const (
	panelWidth  = 300
	panelHeight = 220
	marginLeft  = 52
	marginTop   = 34
	marginEnd   = 40 // right, and below
)

// curve is one line of a panel.
type curve struct {
	name, color string
	values      []float64
}

// plotOf draws what a token costs by the number of tokens: three panels, with a logarithmic axis of numbers.
func plotOf(record *Record) string {
	sizes := record.one("tokens")
	panels := []struct {
		title  string
		curves []curve
	}{
		{"time a token, ms", []curve{
			{byOperator, "#1f5fb4", record.one("time a token, operator")}, {byFloor, "#999999", record.one("time a token, floor")},
		}},
		{"CPU time a token, ms", []curve{{byOperator, "#1f5fb4", record.one("CPU time a token, operator")}}},
		{"memory a token, kB", []curve{{byOperator, "#1f5fb4", record.one("memory a token, operator")}}},
	}
	var text strings.Builder
	fmt.Fprintf(&text, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n",
		panelWidth*len(panels), panelHeight)
	text.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for i, panel := range panels {
		fmt.Fprintf(&text, `<g transform="translate(%d 0)">`+"\n", i*panelWidth)
		drawPanel(&text, panel.title, sizes, panel.curves)
		text.WriteString("</g>\n")
	}
	text.WriteString("</svg>\n")
	return text.String()
}

// axis maps values onto pixels.
type axis struct {
	least, most float64 // of the values
	from, to    float64 // in pixels
}

func (a axis) at(value float64) float64 {
	if a.most == a.least {
		return (a.from + a.to) / 2
	}
	return a.from + (a.to-a.from)*(value-a.least)/(a.most-a.least)
}

func drawPanel(text *strings.Builder, title string, sizes []float64, curves []curve) {
	highest := 0.0
	for _, curve := range curves {
		for _, value := range curve.values {
			highest = max(highest, value)
		}
	}
	top := niceAbove(highest)
	x := axis{0, 0, marginLeft + 10, panelWidth - marginEnd}
	if len(sizes) > 0 {
		x.least, x.most = math.Log10(sizes[0]), math.Log10(sizes[len(sizes)-1])
	}
	y := axis{0, top, panelHeight - marginEnd, marginTop}
	fmt.Fprintf(text, `<text x="%d" y="18" font-weight="bold">%s</text>`+"\n", marginLeft, title)
	for _, share := range []float64{0, 0.5, 1} {
		value := top * share
		fmt.Fprintf(text, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#dddddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n",
			marginLeft, panelWidth-marginEnd+10, y.at(value), y.at(value), marginLeft-6, y.at(value)+4, rounded(value))
	}
	for _, size := range sizes {
		fmt.Fprintf(text, `<text x="%.1f" y="%d" text-anchor="middle">%.0f</text>`+"\n", x.at(math.Log10(size)), panelHeight-marginEnd+16, size)
	}
	for i, curve := range curves {
		var points []string
		for j, value := range curve.values[:min(len(curve.values), len(sizes))] {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x.at(math.Log10(sizes[j])), y.at(value)))
		}
		fmt.Fprintf(text, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), curve.color)
		for _, point := range points {
			px, py, _ := strings.Cut(point, ",")
			fmt.Fprintf(text, `<circle cx="%s" cy="%s" r="3" fill="%s"/>`+"\n", px, py, curve.color)
		}
		if len(curves) > 1 {
			fmt.Fprintf(text, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", panelWidth-marginEnd-50, panelHeight-marginEnd-10-14*i, curve.color, curve.name)
		}
	}
}

// niceAbove is a round number that is not less.
func niceAbove(value float64) float64 {
	if value <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(value)))
	for _, step := range []float64{1, 2, 5, 10} {
		if step*unit >= value {
			return step * unit
		}
	}
	return 10 * unit
}
