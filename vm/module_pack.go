package vm

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// transport are the drivers of the channels. Some kernels have them as modules.
var transport = []string{"virtio_pci", "virtio_console"}

// addKernelModules puts the modules that a configuration asks for into the guest, with those that they need, and says
// in its spec which to load.
func (i *initramfs) addKernelModules(c Config) error {
	tree, err := readModules(c.Kernel.Modules)
	if err != nil {
		return err
	}
	name := c.Kernel.String()
	// A kernel without a folder of modules must have the drivers built in; the boot will tell.
	drivers, err := tree.closure(name, tree.present(transport))
	if err != nil {
		return err
	}
	wanted, err := tree.closure(name, append(tree.present(c.OptionalModules), c.Modules...))
	if err != nil {
		return err
	}
	var ondemand []string
	for _, o := range c.OnDemand {
		if file, ok := tree.byName[canonical(o)]; ok {
			ondemand = append(ondemand, file)
		}
		ondemand = append(ondemand, tree.below(o)...)
	}
	packed := tree.withNeeds(append(append(ondemand, drivers...), wanted...))
	i.spec.Transport, i.spec.Modules = uncompressedAll(drivers), uncompressedAll(wanted)
	return i.addModuleFiles(tree, packed)
}

// present returns those of names that the kernel has.
func (t *moduleTree) present(names []string) []string {
	var out []string
	for _, n := range names {
		if t.has(n) {
			out = append(out, n)
		}
	}
	return out
}

// uncompressed is a module's file as it is called in the guest.
func uncompressed(file string) string {
	base, _, _ := strings.Cut(file, ".ko")
	return base + ".ko"
}

func uncompressedAll(files []string) []string {
	var out []string
	for _, f := range files {
		out = append(out, uncompressed(f))
	}
	return out
}

// addModuleFiles adds modules and the part of modules.dep, modules.alias and modules.builtin that is about them.
func (i *initramfs) addModuleFiles(tree *moduleTree, files []string) error {
	var deps, builtin, aliases strings.Builder
	packed := map[string]bool{}
	for _, f := range files {
		packed[canonical(f)] = true
		i.add(path.Join(guestModules, uncompressed(f)), content{
			host: filepath.Join(tree.dir, f), open: openModule, perm: 0o644,
		})
		fmt.Fprintf(&deps, "%s: %s\n", uncompressed(f), strings.Join(uncompressedAll(tree.deps[f]), " "))
	}
	for b := range tree.builtin {
		fmt.Fprintf(&builtin, "%s.ko\n", b)
	}
	err := eachAlias(tree.dir, func(pattern, module string) {
		if packed[canonical(module)] {
			fmt.Fprintf(&aliases, "alias %s %s\n", pattern, module)
		}
	})
	if err != nil {
		return err
	}
	i.addText(guestModules+"/modules.dep", deps.String())
	i.addText(guestModules+"/modules.builtin", builtin.String())
	i.addText(guestModules+"/modules.alias", aliases.String())
	if tree.dir != "" {
		i.links["/usr/lib/modules/"+filepath.Base(tree.dir)] = guestModules
		i.mkdir("/usr/lib/modules", 0o755)
	}
	return nil
}

// uncompressModules fills the cache of uncompressed modules, on every CPU. It takes seconds with a new kernel, and no
// time after that.
func (i *initramfs) uncompressModules(ctx context.Context, c Config) error {
	late := time.AfterFunc(time.Second, func() {
		c.Notice(fmt.Sprintf("uncompressing modules of kernel %s, once", c.Kernel))
	})
	defer late.Stop()
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	for name, file := range i.files {
		if !strings.HasPrefix(name, guestModules) || file.host == "" {
			continue
		}
		if err := c.ended(ctx); err != nil {
			return errors.Join(err, g.Wait())
		}
		g.Go(func() error {
			f, err := file.open(file.host)
			if err != nil {
				return fmt.Errorf("read kernel module: %w", err)
			}
			return f.Close()
		})
	}
	return g.Wait()
}
