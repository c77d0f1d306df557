package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/waybill-dev/waybill/ci"
	"github.com/waybill-dev/waybill/vm/kernel"
)

// defaultKernel is the name of the kernel that is used when none is named.
const defaultKernel = "6.12"

type kernelCommand struct {
	List  kernelListCommand  `cmd:"" help:"List the kernels."`
	Fetch kernelFetchCommand `cmd:"" help:"Fetch kernels."`
}

// kernelStore returns the store of the kernels that are listed in ci/kernels.
func kernelStore() (kernel.Store, error) {
	list, err := kernel.ParseList(ci.Kernels)
	if err != nil {
		return kernel.Store{}, err
	}
	return kernel.Store{List: list, Mirror: os.Getenv("WAYBILL_DEBIAN_MIRROR"), Progress: notice}, nil
}

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
	Update bool     `help:"Fetch also what is at hand already: there may be a newer version."`
	Names  []string `arg:"" name:"name" help:"Names of kernels, as waybill kernel list shows them."`
}

func (c kernelFetchCommand) Run(ctx context.Context) error {
	store, err := kernelStore()
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	// A wrong name is found before anything is downloaded.
	for _, name := range c.Names {
		if _, err := store.List.Find(name); err != nil {
			return err
		}
	}
	for _, name := range c.Names {
		if err := c.fetch(ctx, store, name); err != nil {
			return err
		}
	}
	return nil
}

func (c kernelFetchCommand) fetch(ctx context.Context, store kernel.Store, name string) error {
	if c.Update {
		return store.Update(ctx, name)
	}
	_, err := store.Get(ctx, name)
	return err
}
