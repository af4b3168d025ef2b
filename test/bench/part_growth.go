package main

import (
	"context"
	"fmt"
)

// point is what one size of a system cost.
type point struct {
	tokens                  int
	operator, floor         float64 // seconds
	cpu                     float64 // seconds
	resident, withoutTokens float64 // MB
}

// growth measures what an object costs in systems of several sizes.
func (b *bench) growth(ctx context.Context) error {
	var points []point
	for _, size := range b.sizes {
		at, err := b.pointOf(ctx, size)
		if err != nil {
			return err
		}
		points = append(points, at)
	}
	sizes, took, least, cpu, memory := columns(points)
	b.samples("tokens", "", sizes)
	b.samples("time a token, operator", "ms", took)
	b.samples("time a token, floor", "ms", least)
	b.samples("CPU time a token, operator", "ms", cpu)
	b.samples("memory a token, operator", "kB", memory)
	for i, at := range points {
		b.row(Row{
			Figure:   fmt.Sprintf("%d tokens", at.tokens),
			Operator: fmt.Sprintf("%.2f ms, %.2f ms of CPU, %.1f kB a token (%.0f MB)", took[i], cpu[i], memory[i], at.resident),
			Floor:    fmt.Sprintf("%.2f ms a token", least[i]), Ratio: fmt.Sprintf("%.2f", ratio(at.operator, at.floor)),
		})
	}
	first, last := points[0], points[len(points)-1]
	grown := ratio(last.operator/float64(last.tokens), first.operator/float64(first.tokens))
	same := ratio(last.floor/float64(last.tokens), first.floor/float64(first.tokens))
	b.row(Row{
		Figure:   fmt.Sprintf("time a token, from %d to %d", first.tokens, last.tokens),
		Operator: fmt.Sprintf("× %.2f", grown), Floor: fmt.Sprintf("× %.2f", same), Ratio: fmt.Sprintf("%.2f", ratio(grown, same)),
		Goal: "flat: no more than the floor's, with a quarter to spare", Verdict: goal(ratio(grown, same) <= 1.25),
	})
	return nil
}

// pointOf measures one size.
func (b *bench) pointOf(ctx context.Context, size int) (at point, err error) {
	run, made, err := b.operatorBurst(ctx, size)
	if err != nil {
		return at, err
	}
	at = point{tokens: size, operator: run.took, cpu: run.usage.CPU}
	used, err := b.rested(ctx, made)
	if err == nil {
		at.resident = megabytes(used)
		made.stopOperator()
		err = b.restartOperator(ctx, made, 0, "--namespaces="+quietNamespace)
	}
	if err == nil {
		used, err = made.operator.Usage()
		at.withoutTokens = megabytes(used)
	}
	if ended := made.end(); err == nil {
		err = ended
	}
	if err != nil {
		return at, err
	}
	least, err := b.floorBurst(ctx, size)
	at.floor = least.took
	return at, err
}

// columns are what one token cost, by size: time of operator and floor and CPU time in milliseconds, and memory in kilobytes.
func columns(points []point) (sizes, took, least, cpu, memory []float64) {
	for _, at := range points {
		tokens := float64(at.tokens)
		sizes = append(sizes, tokens)
		took = append(took, at.operator/tokens*1000)
		least = append(least, at.floor/tokens*1000)
		cpu = append(cpu, at.cpu/tokens*1000)
		memory = append(memory, (at.resident-at.withoutTokens)/tokens*1000)
	}
	return sizes, took, least, cpu, memory
}
