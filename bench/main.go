package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type command struct {
	Run   runCommand   `cmd:"" help:"Measure in VMs, and print what came of it."`
	Flood floodCommand `cmd:"" help:"Measure on this kernel, as root."`
	Send  sendCommand  `cmd:"" hidden:""`
}

func main() {
	var c command
	parsed := kong.Parse(&c, kong.Name("bench"), kong.Description("Measure what observing a packet costs."))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	parsed.BindTo(ctx, (*context.Context)(nil))
	err := parsed.Run()
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s\n", err)
		os.Exit(1)
	}
}
