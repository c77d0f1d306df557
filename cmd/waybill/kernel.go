package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/waybill-dev/waybill/ci"
	"github.com/waybill-dev/waybill/vm/kernel"
)

type kernelCommand struct {
	List  kernelListCommand  `cmd:"" help:"List the kernels."`
	Fetch kernelFetchCommand `cmd:"" help:"Fetch kernels, or newer versions of them."`
}

// kernelStore returns the store of the kernels that are listed in ci/kernels.
func kernelStore() (kernel.Store, error) {
	list, err := kernel.ParseList(ci.Kernels)
	if err != nil {
		return kernel.Store{}, err
	}
	return kernel.Store{List: list, Mirror: os.Getenv("WAYBILL_DEBIAN_MIRROR"), Progress: notice}, nil
}

// notice prints a line about something that takes a while.
func notice(line string) { fmt.Fprintln(os.Stderr, "waybill: "+line) }

type kernelListCommand struct{}

func (kernelListCommand) Run() error {
	store, err := kernelStore()
	if err != nil {
		return err
	}
	entries, err := store.Entries()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tROLE\tSUITE\tCACHED\tSIZE")
	for _, e := range entries {
		version, size := "no", "-"
		if e.Cached {
			version, size = e.Version, fmt.Sprintf("%d MiB", e.Bytes>>20)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", e.Name, e.Role, e.Suite, version, size)
	}
	return w.Flush()
}

type kernelFetchCommand struct {
	Names []string `arg:"" name:"name" help:"Names of kernels, as waybill kernel list shows them."`
}

func (c kernelFetchCommand) Run(ctx context.Context) error {
	store, err := kernelStore()
	if err != nil {
		return err
	}
	// A wrong name is found before anything is downloaded.
	for _, name := range c.Names {
		if _, err := store.List.Find(name); err != nil {
			return err
		}
	}
	for _, name := range c.Names {
		if err := store.Fetch(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// defaultKernel is the name of the kernel that is used when none is named.
const defaultKernel = "6.12"
