package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/waybill-dev/waybill/ci"
	"github.com/waybill-dev/waybill/vm"
	"github.com/waybill-dev/waybill/vm/kernel"
)

// defaultKernel is the name of the kernel that is used when none is named.
const defaultKernel = "6.12"

type kernelCommand struct {
	List  kernelListCommand  `cmd:"" help:"List the kernels."`
	Fetch kernelFetchCommand `cmd:"" help:"Fetch kernels."`
	Prune kernelPruneCommand `cmd:"" help:"Remove fetched kernels that are of no use."`
}

// kernelsVariable names a list of kernels of the user's own, in place of the one in the user's configuration folder.
const kernelsVariable = "WAYBILL_KERNELS"

// ownList returns the path of the user's list of kernels, and whether the user named it. It is empty if the user has no home.
func ownList() (path string, named bool) {
	if path := os.Getenv(kernelsVariable); path != "" {
		return path, true
	}
	base, err := os.UserConfigDir()
	if err != nil {
		return "", false
	}
	return filepath.Join(base, "waybill", "kernels"), false
}

// kernelList returns the kernels of ci/kernels, and over them those of the user.
func kernelList() (kernel.List, error) {
	list, err := kernel.ParseList("ci/kernels", ci.Kernels, "")
	if err != nil {
		return nil, err
	}
	path, named := ownList()
	if path == "" {
		return list, nil
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("find the list of kernels: %w", err)
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && !named:
		return list, nil
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%s names the list of kernels %s, which does not exist", kernelsVariable, path)
	case err != nil:
		return nil, fmt.Errorf("read the list of kernels: %w", err)
	}
	own, err := kernel.ParseList(path, string(text), filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	return list.Extend(own), nil
}

// kernelStore returns the store of the kernels that are known by name.
func kernelStore() (kernel.Store, error) {
	list, err := kernelList()
	if err != nil {
		return kernel.Store{}, err
	}
	return kernel.Store{List: list, Mirror: os.Getenv("WAYBILL_DEBIAN_MIRROR"), Progress: notice}, nil
}

type kernelListCommand struct {
	JSON bool `name:"json" help:"Print the list as JSON."`
}

// listedKernel is a kernel in the JSON list.
type listedKernel struct {
	Name     string   `json:"name"`
	Role     string   `json:"role,omitempty"`
	Lacks    []string `json:"lacks,omitempty"`    // features, as tests that are skipped for them name them
	Suite    string   `json:"suite,omitempty"`    // of Debian's archive
	Packages string   `json:"packages,omitempty"` // their version
	Image    string   `json:"image,omitempty"`    // of a kernel of the user's own
	Cached   bool     `json:"cached"`
	Version  string   `json:"version,omitempty"` // what the kernel calls itself, if it is cached
	Bytes    int64    `json:"bytes,omitempty"`   // on disk
}

func (c kernelListCommand) Run() error {
	store, err := kernelStore()
	if err != nil {
		return err
	}
	entries, err := store.Entries()
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(entries)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tROLE\tSUITE\tVERSION\tCACHED\tSIZE")
	for _, e := range entries {
		suite, version, cached, size := e.Suite, e.Version, "no", "-"
		switch {
		case e.Own():
			suite, cached = "own", "-"
		case e.Cached:
			cached = "yes"
		case e.Outdated:
			cached = "outdated"
		}
		if e.Bytes > 0 {
			size = mebibytes(e.Bytes)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Name, orDash(e.Role), suite, orDash(version), cached, size)
	}
	return w.Flush()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<19)>>20) }

func printJSON(entries []kernel.Entry) error {
	listed := []listedKernel{}
	for _, e := range entries {
		l := listedKernel{
			Name: e.Name, Role: e.Role, Lacks: e.Lacks, Suite: e.Suite, Packages: e.Version, Image: e.Image, Cached: e.Cached,
			Bytes: e.Bytes,
		}
		if e.Cached {
			l.Version = e.Release
		}
		listed = append(listed, l)
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "\t")
	return encoder.Encode(listed)
}

type kernelFetchCommand struct {
	All    bool     `help:"Fetch every kernel of the list."`
	Update bool     `help:"Fetch the newest version that the mirror has, whatever the list says, and write it into a list."`
	List   string   `placeholder:"FILE" help:"List that --update writes to (your own: $$WAYBILL_KERNELS, or waybill/kernels in your configuration folder)."`
	Names  []string `arg:"" name:"name" optional:"" help:"Names of kernels, as waybill kernel list shows them."`
}

func (c kernelFetchCommand) Run(ctx context.Context) error {
	switch {
	case c.All == (len(c.Names) > 0):
		return errors.New("name the kernels to fetch, or say --all: waybill kernel list shows them")
	case c.List != "" && !c.Update:
		return errors.New("--list says where --update writes to: give both, or neither")
	}
	store, err := kernelStore()
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	names := c.Names
	if c.All {
		for _, k := range store.List {
			if !k.Own() {
				names = append(names, k.Name)
			}
		}
	}
	// A wrong name is found before anything is downloaded.
	for _, name := range names {
		if _, err := store.List.Find(name); err != nil {
			return err
		}
	}
	for _, name := range names {
		if c.Update {
			err = c.update(ctx, store, name)
		} else {
			_, err = store.Get(ctx, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// update fetches the newest version of a kernel, and writes it into a list.
func (c kernelFetchCommand) update(ctx context.Context, store kernel.Store, name string) error {
	path := c.List
	if path == "" {
		if path, _ = ownList(); path == "" {
			return errors.New("say by --list where to write the new version: you have no configuration folder")
		}
	}
	src, err := store.Update(ctx, name)
	if err != nil {
		return err
	}
	if err := rewriteList(path, src); err != nil {
		return fmt.Errorf("write the list of kernels: %w", err)
	}
	notice(fmt.Sprintf("kernel %s: version %s, written to %s", name, src.Version, path))
	return nil
}

// rewriteList puts a kernel's version into a list. The list is replaced by a rename: it is never half written.
func rewriteList(path string, src kernel.Source) error {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".kernels-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // after a rename it is gone
	_, err = f.WriteString(kernel.Rewrite(string(text), src))
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

type kernelPruneCommand struct {
	All bool `help:"Remove every fetched kernel."`
}

// Help is shown by waybill kernel prune --help.
func (kernelPruneCommand) Help() string {
	return "Removes kernels that are not in the list any more, or that are there in another version than the list says, " +
		"what fetches that were killed left behind, and uncompressed images and modules that were not used for two weeks."
}

func (c kernelPruneCommand) Run() error {
	store, err := kernelStore()
	if err != nil {
		return err
	}
	removed, err := store.Prune(c.All)
	for _, r := range removed {
		fmt.Printf("removed %s (%s): %s\n", r.Name, r.Why, mebibytes(r.Bytes))
	}
	if err != nil {
		return err
	}
	bytes, err := vm.PruneCache(c.All)
	if bytes > 0 {
		fmt.Printf("removed what was uncompressed of kernels: %s\n", mebibytes(bytes))
	}
	return err
}
