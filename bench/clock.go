package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clock tells how much was done. By wall clock that is the time that passed; where the guest's clock counts instructions
// it is the time for which its one CPU worked, because while it waits the clock goes on with the host's.
type clock struct{ counts bool }

func (c clock) now() (time.Duration, error) {
	if c.counts {
		return worked()
	}
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// worked is the time that tasks have run on the first CPU, the last of them up to when it began to run, which is just now if
// it has waited for something (Documentation/scheduler/sched-stats.rst). It needs CONFIG_SCHED_INFO, as distributions have it.
func worked() (time.Duration, error) {
	text, err := os.ReadFile("/proc/schedstat")
	if err != nil {
		return 0, fmt.Errorf("read the time that the CPU worked: %w", err)
	}
	return workedOf(string(text))
}

// workedOf finds that time in the text of /proc/schedstat: the seventh number of the CPU's line.
func workedOf(text string) (time.Duration, error) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 8 || fields[0] != "cpu0" {
			continue
		}
		n, err := strconv.ParseInt(fields[7], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the time that the CPU worked: %w", err)
		}
		return time.Duration(n), nil
	}
	return 0, errors.New("read the time that the CPU worked: /proc/schedstat has no line for it")
}

// ownWork is the CPU time of this process: what reading costs.
func ownWork() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		return 0, fmt.Errorf("read the process's clock: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// lap is a step and how long it took, by wall clock.
type lap struct {
	Step         string  `json:"step"`
	Milliseconds float64 `json:"ms"`
}

// laps times the steps of something. A nil one times nothing.
type laps struct {
	last time.Time
	all  []lap
}

func (l *laps) begin() {
	if l != nil {
		l.last = time.Now()
	}
}

func (l *laps) lap(step string) {
	if l != nil {
		now := time.Now()
		l.all = append(l.all, lap{step, float64(now.Sub(l.last).Microseconds()) / 1000})
		l.last = now
	}
}

// closeAfter closes what has failed.
func closeAfter(err error, c io.Closer) error { return errors.Join(err, c.Close()) }
