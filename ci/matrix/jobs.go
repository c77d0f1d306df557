package main

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/waybill-dev/waybill/ci/report"
)

// job is one package on one kernel.
type job struct {
	kernel report.Kernel
	pkg    testPackage
	run    *report.Run
	done   chan struct{} // closed when run is there, or will never be
}

// runAll runs every package on every kernel, several at once, and returns the runs in the order of kernels and packages. A
// line about each is printed in that order too: as soon as it and all before it have ended. The first run that cannot be
// made ends the others.
func (c *command) runAll(ctx context.Context, kernels []report.Kernel, packages []testPackage) ([]*report.Run, error) {
	hasStable := slices.ContainsFunc(kernels, func(k report.Kernel) bool { return k.Role == "stable" })
	var jobs []*job
	for _, k := range kernels {
		for _, p := range packages {
			if p.stable && hasStable && k.Role != "stable" {
				continue
			}
			jobs = append(jobs, &job{kernel: k, pkg: p, done: make(chan struct{})})
		}
	}
	queue := make(chan *job, len(jobs))
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	defer workers.Wait() // no VM outlives the matrix
	for range min(c.Jobs, len(jobs)) {
		workers.Go(func() {
			for j := range queue {
				if ctx.Err() == nil {
					run, err := c.runPackage(ctx, j.kernel, j.pkg)
					if err != nil {
						cancel(fmt.Errorf("run %s on %s: %w", j.pkg.name, j.kernel.Name, err))
					}
					j.run = run
				}
				close(j.done)
			}
		})
	}
	var runs []*report.Run
	for _, j := range jobs {
		<-j.done
		if j.run == nil {
			return nil, context.Cause(ctx)
		}
		j.run.Judge(j.kernel)
		runs = append(runs, j.run)
		fmt.Printf("%-6s %s: %s\n", j.kernel.Name, j.pkg.name, j.run.Sentence())
	}
	return runs, nil
}
