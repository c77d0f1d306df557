package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"
	"golang.org/x/sys/unix"
)

// initramfs is a list of what the guest's root file system begins with.
type initramfs struct {
	files map[string]content // absolute guest path, links resolved
	dirs  map[string]uint64  // absolute guest path → permissions
	links map[string]string  // absolute guest path → target
	spec  spec
}

// content is one file: from the host, or text.
type content struct {
	host string
	open func(string) (*os.File, error) // how to open host
	text []byte
	perm uint64
}

// mergedFolders are links in the guest's root, as every current distribution has them.
var mergedFolders = map[string]string{"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/lib64": "usr/lib64"}

func newInitramfs() *initramfs {
	i := &initramfs{files: map[string]content{}, dirs: map[string]uint64{}, links: map[string]string{}}
	maps.Copy(i.links, mergedFolders)
	for _, d := range []string{
		"/dev", "/etc", "/proc", "/run", "/sys", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/var/lib", "/waybill",
	} {
		i.mkdir(d, 0o755)
	}
	i.mkdir("/root", 0o700)
	i.mkdir("/tmp", 0o1777)
	i.links["/var/run"] = "../run"
	for name, text := range etcFiles {
		i.addText("/etc/"+name, text)
	}
	// In rulesets users write ports by name, as far as this machine knows them.
	if _, err := os.Stat(servicesFile); err == nil {
		i.addHost(servicesFile, servicesFile, 0o644)
	}
	return i
}

const servicesFile = "/etc/services"

// etcFiles are the least that common programs look for.
var etcFiles = map[string]string{
	"passwd":        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
	"group":         "root:x:0:\nnogroup:x:65534:\n",
	"hosts":         "127.0.0.1 localhost " + hostName + "\n::1 localhost\n",
	"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nprotocols: files\nservices: files\n",
	// nft prints protocol numbers as names when it finds them here.
	"protocols": "ip 0 IP\nicmp 1 ICMP\nigmp 2 IGMP\nipencap 4 IP-ENCAP\ntcp 6 TCP\nudp 17 UDP\nipv6 41 IPv6\n" +
		"gre 47 GRE\nesp 50 IPSEC-ESP\nah 51 IPSEC-AH\nipv6-icmp 58 IPv6-ICMP\nsctp 132 SCTP\nudplite 136 UDPLite\n",
}

// guestPath is where a path leads in the guest, whose /bin, /sbin, /lib and /lib64 are links.
func guestPath(p string) string {
	p = path.Clean("/" + p)
	for from, to := range mergedFolders {
		if p == from || strings.HasPrefix(p, from+"/") {
			return path.Clean("/" + to + p[len(from):])
		}
	}
	return p
}

func (i *initramfs) mkdir(dir string, perm uint64) {
	for d := dir; d != "/"; d = path.Dir(d) {
		if _, ok := i.dirs[d]; !ok {
			i.dirs[d] = 0o755
		}
	}
	i.dirs[dir] = perm
}

func (i *initramfs) add(guest string, c content) {
	guest = guestPath(guest)
	if dir := path.Dir(guest); dir != "/" {
		if _, ok := i.dirs[dir]; !ok {
			i.mkdir(dir, 0o755)
		}
	}
	i.files[guest] = c
}

func (i *initramfs) addText(guest, text string) {
	i.add(guest, content{text: []byte(text), perm: 0o644})
}

// addHost adds a file of the host.
func (i *initramfs) addHost(guest, host string, perm uint64) {
	i.add(guest, content{host: host, open: os.Open, perm: perm})
}

// addProgram adds a program of the host at its own path, and its libraries.
func (i *initramfs) addProgram(host string, libs *libraries) error {
	needs, err := libs.closure(host)
	if err != nil {
		return err
	}
	i.addHost(host, host, 0o755)
	i.addLibraries(needs)
	return nil
}

func (i *initramfs) addLibraries(paths []string) {
	for _, p := range paths {
		i.addHost(p, p, 0o755)
	}
	if len(paths) == 0 {
		return
	}
	// The guest's loader must find them where the host's does.
	if _, err := os.Stat(loaderCache); err == nil {
		i.addHost(loaderCache, loaderCache, 0o644)
	}
}

// write writes the archive, until stop returns an error. It is not compressed: emulated, uncompressing would take longer than
// reading it.
func (i *initramfs) write(w io.Writer, stop func() error) error {
	text, err := json.Marshal(i.spec)
	if err != nil {
		return fmt.Errorf("write spec: %w", err)
	}
	i.addText(specPath, string(text))
	out := cpio.Newc.Writer(w)
	put := func(r cpio.Record) error {
		if err := stop(); err != nil {
			return err
		}
		if err := out.WriteRecord(r); err != nil {
			return fmt.Errorf("write initramfs: %w", err)
		}
		return nil
	}
	if err := put(cpio.Directory(".", 0o755)); err != nil {
		return err
	}
	for _, d := range slices.Sorted(maps.Keys(i.dirs)) {
		if err := put(cpio.Directory(d, i.dirs[d])); err != nil {
			return err
		}
	}
	// Without these two the first process begins with no standard files, and Go's runtime refuses to start.
	for _, r := range []cpio.Record{cpio.CharDev("dev/console", 0o600, 5, 1), cpio.CharDev("dev/null", 0o666, 1, 3)} {
		if err := put(r); err != nil {
			return err
		}
	}
	for _, l := range slices.Sorted(maps.Keys(i.links)) {
		if _, ok := i.files[l]; ok {
			continue // a program that was asked for takes the place of ours
		}
		if err := put(cpio.Symlink(l, i.links[l])); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(i.files)) {
		if err := putFile(put, name, i.files[name]); err != nil {
			return err
		}
	}
	return put(cpio.TrailerRecord)
}

func putFile(put func(cpio.Record) error, name string, c content) error {
	info := cpio.Info{Name: name, Mode: cpio.S_IFREG | c.perm}
	if c.host == "" {
		return put(cpio.StaticRecord(c.text, info))
	}
	f, err := c.open(c.host)
	if err != nil {
		return fmt.Errorf("pack %s: %w", c.host, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("pack %s: %w", c.host, err)
	}
	info.FileSize = uint64(st.Size())
	// Without the file's Close, which the writer would call.
	return put(cpio.Record{ReaderAt: io.NewSectionReader(f, 0, st.Size()), Info: info})
}

// archive is an initramfs in memory, as QEMU gets it.
type archive struct {
	file  *os.File
	probe bool // it holds no program
}

func (a *archive) close() { _ = a.file.Close() }

// archive makes the initramfs, and sees whether the guest can hold it.
func (i *initramfs) archive(ctx context.Context, c Config) (*archive, error) {
	if err := i.uncompressModules(ctx, c); err != nil {
		return nil, err
	}
	f, err := i.memfd(func() error { return c.ended(ctx) })
	if err != nil {
		return nil, err
	}
	if err := fits(f, c.MemoryMiB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return &archive{file: f, probe: i.spec.Probe}, nil
}

// memfd writes the archive to a file that has no name and lives in memory only, until stop returns an error.
func (i *initramfs) memfd(stop func() error) (*os.File, error) {
	fd, err := unix.MemfdCreate("waybill-initramfs", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make initramfs in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "initramfs")
	buffered := bufio.NewWriterSize(f, 1<<20)
	err = i.write(buffered, stop)
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// fits tells whether the guest can hold an archive: as it is, and unpacked in a file system that takes at most half of the
// memory. The kernel needs some, too.
func fits(archive *os.File, memoryMiB int) error {
	st, err := archive.Stat()
	if err != nil {
		return fmt.Errorf("measure initramfs: %w", err)
	}
	const kernelMiB = 128
	need := int(2*st.Size()>>20) + kernelMiB
	if need > memoryMiB {
		return fmt.Errorf("the program and its files, %s, do not fit into a VM with %d MiB of memory: give it %d or more",
			bytesText(st.Size()), memoryMiB, need)
	}
	return nil
}
