package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// guestModules is the guest's folder of modules.
const guestModules = "/waybill/modules"

// quietParams keep modules from making devices nobody asked for, as systemd's modprobe.d does.
var quietParams = map[string]string{"dummy": "numdummies=0", "bonding": "max_bonds=0", "ifb": "numifbs=0"}

// load loads modules, each after those that it needs, as many at once as there are CPUs: most of the time goes into
// checking their signatures, which the kernel does side by side.
func (t *moduleTree) load(files []string) error {
	var g errgroup.Group
	slots := make(chan struct{}, runtime.NumCPU())
	loaded := map[string]chan struct{}{}
	for _, file := range files {
		loaded[file] = make(chan struct{})
	}
	for _, file := range files {
		g.Go(func() error {
			defer close(loaded[file]) // after a failure too: nobody may wait for ever
			for _, need := range t.deps[file] {
				if done, ok := loaded[need]; ok {
					<-done
				}
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := loadModule(filepath.Join(t.dir, file), quietParams[canonical(file)]); err != nil {
				return fmt.Errorf("load kernel module %s: %w", canonical(file), err)
			}
			return nil
		})
	}
	return g.Wait()
}

// loadModule loads one module. One that is there already is fine.
func loadModule(path, params string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), params, 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}
