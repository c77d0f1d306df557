package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Run runs a program under another kernel and returns when it has ended. Ending ctx ends the machine.
//
// The error is nil if the program ran to its end, whatever its exit status. Else it is a [BootError], [PanicError],
// [DeadlineError], [InterruptedError] or [OutputError], wraps [ErrNoQEMU] or ctx's error, or says in one sentence what is wrong with
// the configuration. One machine runs at a time for each user: Run waits for its turn.
func Run(ctx context.Context, c Config) (Result, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Result{}, err
	}
	if err := c.Kernel.check(); err != nil {
		return Result{}, err
	}
	qemu, err := findQEMU()
	if err != nil {
		return Result{}, err
	}
	root, err := pack(c)
	if err != nil {
		return Result{}, err
	}
	back, err := newCollector(c)
	if err != nil {
		return Result{}, err
	}
	defer back.close()
	packed, err := root.archive(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer packed.close()
	accel := c.Accel
	if accel == Auto {
		if accel, err = chooseAccel(ctx, qemu, c); err != nil {
			return Result{}, err
		}
	}
	unlock, err := lockMachine(ctx, c, accel.threads(c))
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	return boot(ctx, qemu, accel, c, packed, back)
}

// Check finds what is wrong with a configuration as far as it can be told without the kernel: before one is fetched
// for nothing.
func Check(c Config) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	if _, err := findQEMU(); err != nil {
		return err
	}
	if _, err := packPrograms(c); err != nil {
		return err
	}
	back, err := newCollector(c)
	if err != nil {
		return err
	}
	back.close()
	return nil
}

// pack lists what the guest gets. All that can be wrong with the program, its libraries and the modules is found here.
func pack(c Config) (*initramfs, error) {
	root, err := packPrograms(c)
	if err != nil {
		return nil, err
	}
	return root, root.addKernelModules(c)
}

// packPrograms lists all that the guest gets but the kernel's modules.
func packPrograms(c Config) (*initramfs, error) {
	root := newInitramfs()
	libs := newLibraries()
	program, err := findProgram(c.Program)
	if err != nil {
		return nil, err
	}
	if err := root.addSelf(libs); err != nil {
		return nil, err
	}
	programs := []string{program}
	for _, b := range c.Binaries {
		p, err := findProgram(b)
		if err != nil {
			return nil, err
		}
		programs = append(programs, p)
	}
	for _, b := range c.OptionalBinaries {
		p, err := findProgram(b)
		if err != nil {
			continue
		}
		if _, err := libs.closure(p); err == nil {
			programs = append(programs, p)
		}
	}
	for _, p := range programs {
		if err := root.addProgram(p, libs); err != nil {
			return nil, err
		}
	}
	for _, f := range c.Files {
		if err := root.addFile(f); err != nil {
			return nil, err
		}
	}
	root.spec = spec{
		OutputLimit: c.OutputLimit,
		Path:        program,
		Args:        append([]string{program}, c.Args...),
		Env: append([]string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root",
			"TERM=dumb", "SHELL=/bin/sh",
		}, c.Env...),
		Dir: c.Dir,
	}
	if c.Stdin != nil {
		root.spec.Input = true
		if isTerminal(c.Stdin) {
			size := sizeOf(c.Stdin)
			root.spec.Terminal = &size
		}
	}
	if c.Artifacts != "" {
		host, err := filepath.Abs(c.Artifacts)
		if err != nil {
			return nil, fmt.Errorf("find the folder of the artifacts: %w", err)
		}
		root.spec.Env = append(root.spec.Env, artifactsVariable+"="+guestArtifacts, artifactsHostVariable+"="+host)
	}
	for _, o := range c.outputs() {
		dir := o.Guest
		if !o.Folder {
			dir = path.Dir(o.Guest)
		}
		root.spec.Outputs = append(root.spec.Outputs, o.Guest)
		root.spec.OutputDirs = append(root.spec.OutputDirs, dir)
	}
	return root, nil
}

// addSelf adds this executable as the guest's first process.
func (i *initramfs) addSelf(libs *libraries) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this executable: %w", err)
	}
	needs, err := libs.closure(self)
	if err != nil {
		return err
	}
	i.addLibraries(needs)
	i.addHost("/init", self, 0o755)
	return nil
}

func (i *initramfs) addFile(f File) error {
	src, err := filepath.Abs(f.Src)
	if err != nil {
		return fmt.Errorf("pack file %s: %w", f.Src, err)
	}
	if f.Dst == "" {
		f.Dst = src
	}
	if _, err := os.Stat(src); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("file %s does not exist", f.Src)
	}
	if src, err = filepath.EvalSymlinks(src); err != nil {
		return fmt.Errorf("pack file: %w", err)
	}
	return filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("pack file: %w", err)
		}
		dst := path.Join(f.Dst, strings.TrimPrefix(p, src))
		if d.Type() == fs.ModeSymlink && !leadsToFile(src, p) {
			i.links[guestPath(dst)], err = os.Readlink(p)
			return err
		}
		st, err := os.Stat(p)
		if err != nil {
			return fmt.Errorf("pack file: %w", err)
		}
		switch {
		case st.IsDir():
			i.mkdir(guestPath(dst), uint64(st.Mode().Perm()))
		case st.Mode().IsRegular():
			i.addHost(dst, p, uint64(st.Mode().Perm()))
		default:
			return fmt.Errorf("%s is neither a file nor a folder", p)
		}
		return nil
	})
}

// leadsToFile tells whether a link below a folder leads to a file outside of it, which is then packed in its place. Other
// links stay links: those inside lead to what is packed too, and those to nowhere do the same in the guest.
func leadsToFile(folder, link string) bool {
	to, err := filepath.EvalSymlinks(link)
	if err != nil || strings.HasPrefix(to, folder+"/") {
		return false
	}
	st, err := os.Stat(to)
	return err == nil && st.Mode().IsRegular()
}

// packProbe lists what a guest gets that has nothing to do but to come up.
func packProbe(c Config) (*initramfs, error) {
	root := newInitramfs()
	if err := root.addSelf(newLibraries()); err != nil {
		return nil, err
	}
	root.spec.Probe = true
	c.Modules, c.OptionalModules, c.OnDemand = nil, nil, nil
	return root, root.addKernelModules(c)
}
