package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// keyring holds the keys that Debian's archive is signed with; the package debian-archive-keyring brings it.
var keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// apt runs apt's own tools on a state folder of its own, with one suite of one mirror.
type apt struct {
	dir     string
	suite   string
	options []string
}

// newApt prepares a state folder.
func newApt(ctx context.Context, dir, suite, mirror string) (*apt, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, errors.New("apt-get is not installed: named kernels are fetched through Debian's apt; " +
			"elsewhere, give the path of a kernel image")
	}
	if _, err := os.Stat(keyring); err != nil {
		return nil, fmt.Errorf("%s is missing, so that nothing could be verified: install debian-archive-keyring", keyring)
	}
	if mirror == "" {
		var err error
		if mirror, err = configuredMirror(ctx); err != nil {
			return nil, err
		}
	}
	a := &apt{dir: dir, suite: suite, options: []string{
		"-o", "Dir::State=" + dir + "/state",
		"-o", "Dir::State::status=/dev/null",
		"-o", "Dir::Cache=" + dir + "/cache",
		"-o", "Dir::Etc::sourcelist=" + dir + "/sources.list",
		"-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "Dir::Etc::preferencesparts=/dev/null",
		// Root's apt downloads as another user, who cannot enter this folder.
		"-o", "APT::Sandbox::User=root",
		"-o", "APT::Architecture=amd64", "-o", "APT::Architectures::=amd64",
		"-o", "Acquire::Languages=none", "-o", "Acquire::Retries=3",
	}}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "download"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("make folder for apt: %w", err)
		}
	}
	line := fmt.Sprintf("deb [arch=amd64 signed-by=%s] %s %s main\n", keyring, mirror, suite)
	if err := os.WriteFile(filepath.Join(dir, "sources.list"), []byte(line), 0o644); err != nil {
		return nil, fmt.Errorf("write apt's sources: %w", err)
	}
	return a, nil
}

// configuredMirror asks apt for the mirror of Debian's archive that this machine is configured with.
func configuredMirror(ctx context.Context) (string, error) {
	const format = "$(REPO_URI) $(ORIGIN) $(LABEL)"
	// With release files, which say whose archive it is; a machine that never ran apt-get update has none.
	for _, more := range [][]string{nil, {"--no-release-info"}} {
		args := append([]string{"indextargets", "--format", format}, more...)
		out, err := command(ctx, "", "apt-get", append(args, "Created-By: Packages")...)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(out) {
			words := strings.Fields(line)
			if len(words) < 3 {
				continue
			}
			debian := words[1] == "Debian" && words[2] == "Debian"
			if more != nil {
				debian = path.Base(words[0]) == "debian"
			}
			if debian {
				return words[0], nil
			}
		}
	}
	return "", errors.New("apt is not configured with a mirror of Debian's archive: " +
		"set WAYBILL_DEBIAN_MIRROR to the address of one")
}

func (a *apt) update(ctx context.Context) error {
	// Without Error-Mode a mirror that cannot be reached is only a warning.
	_, err := a.run(ctx, "apt-get", "-qq", "-o", "APT::Update::Error-Mode=any", "update")
	if err != nil {
		return fmt.Errorf("read the list of packages in %s: %w", a.suite, err)
	}
	return nil
}

var (
	imagePackage = regexp.MustCompile(`^linux-image-[0-9]`)
	partPackage  = regexp.MustCompile(`^linux-(binary|modules|base)-[0-9]`)
)

// newest returns the packages that hold the image and the modules of the kernel that a package or a pattern names now, and
// their version.
func (a *apt) newest(ctx context.Context, pattern string) (packages []string, version string, err error) {
	if packages, err = a.kernelPackages(ctx, pattern); err != nil {
		return nil, "", err
	}
	versions, err := a.versions(ctx, packages[0])
	if err != nil {
		return nil, "", err
	}
	if len(versions) == 0 {
		return nil, "", fmt.Errorf("suite %s has no package %s", a.suite, packages[0])
	}
	return packages, versions[0], nil
}

// kernelPackages returns the packages that hold the image and the modules of the kernel that a package or a pattern
// names.
func (a *apt) kernelPackages(ctx context.Context, pattern string) ([]string, error) {
	image := pattern
	if strings.Contains(pattern, "*") {
		fixed, _, _ := strings.Cut(pattern, "*")
		out, err := a.run(ctx, "apt-cache", "pkgnames", fixed)
		if err != nil {
			return nil, fmt.Errorf("look for package %s: %w", pattern, err)
		}
		var fits []string
		for name := range strings.FieldsSeq(out) {
			if ok, err := path.Match(pattern, name); err == nil && ok {
				fits = append(fits, name)
			}
		}
		if len(fits) == 0 {
			return nil, fmt.Errorf("suite %s has no package %s", a.suite, pattern)
		}
		image = slices.MaxFunc(fits, compareVersions)
	}
	needs, err := a.depends(ctx, image)
	if err != nil {
		return nil, err
	}
	if !imagePackage.MatchString(image) {
		// A package that only depends on the current kernel.
		i := slices.IndexFunc(needs, imagePackage.MatchString)
		if i < 0 {
			return nil, fmt.Errorf("package %s depends on no kernel image", image)
		}
		image = needs[i]
		if needs, err = a.depends(ctx, image); err != nil {
			return nil, err
		}
	}
	var parts []string
	for _, n := range needs {
		if partPackage.MatchString(n) {
			parts = append(parts, n)
		}
	}
	if len(parts) > 0 {
		return parts, nil // from 7.2 on; the image package itself is empty
	}
	return []string{image}, nil
}

// versions returns the versions of a package that the mirror has, the highest first.
func (a *apt) versions(ctx context.Context, name string) ([]string, error) {
	out, err := a.run(ctx, "apt-cache", "madison", name)
	if err != nil {
		return nil, fmt.Errorf("look for package %s in %s: %w", name, a.suite, err)
	}
	var versions []string
	for line := range strings.Lines(out) {
		if columns := strings.Split(line, "|"); len(columns) == 3 {
			versions = append(versions, strings.TrimSpace(columns[1]))
		}
	}
	return versions, nil
}

// depends returns what a package depends on, directly.
func (a *apt) depends(ctx context.Context, name string) ([]string, error) {
	out, err := a.run(ctx, "apt-cache", "depends", "--important", name)
	if err != nil {
		return nil, fmt.Errorf("look for package %s in %s: %w", name, a.suite, err)
	}
	var names []string
	for line := range strings.Lines(out) {
		if kind, on, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && strings.HasSuffix(kind, "Depends") {
			names = append(names, on)
		}
	}
	return names, nil
}

// download downloads packages of one version, with their signatures' chain verified, and returns the files in the same
// order.
func (a *apt) download(ctx context.Context, names []string, version string) ([]string, error) {
	args := []string{"-qq", "download"}
	for _, n := range names {
		args = append(args, n+"="+version)
	}
	if _, err := a.run(ctx, "apt-get", args...); err != nil {
		return nil, fmt.Errorf("download %s: %w", strings.Join(names, ", "), err)
	}
	var files []string
	for _, n := range names {
		found, err := filepath.Glob(filepath.Join(a.dir, "download", n+"_*.deb"))
		if err != nil {
			return nil, err
		}
		if len(found) != 1 {
			return nil, fmt.Errorf("download %s: apt-get left %d files", n, len(found))
		}
		files = append(files, found[0])
	}
	return files, nil
}

func (a *apt) run(ctx context.Context, name string, args ...string) (string, error) {
	return command(ctx, filepath.Join(a.dir, "download"), name, append(slices.Clone(a.options), args...)...)
}

// command runs a tool and returns its output; its own words are the error if it fails.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	var stdout bytes.Buffer
	err := runTool(ctx, dir, &stdout, name, args...)
	return stdout.String(), err
}

// runTool runs a tool that ends with this process, with all that it started when ctx ends.
func runTool(ctx context.Context, dir string, stdout io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, tool(name), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = stdout, &stderr
	// A group of its own: Ctrl-C in the terminal is for this process, which ends the group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// Pdeathsig comes with the end of the thread that forked: it must stay until the tool has ended (prctl(2)).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if said := complaint(stderr.String()); said != "" {
		return fmt.Errorf("%s: %s", name, strings.TrimPrefix(said, name+": "))
	}
	return fmt.Errorf("%s: %w", name, err)
}

// tool finds a program also where a user's PATH does not lead: depmod is in /usr/sbin.
func tool(name string) string {
	if _, err := exec.LookPath(name); err != nil {
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			if p := filepath.Join(dir, name); isFile(p) {
				return p
			}
		}
	}
	return name
}

func isFile(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.Mode().IsRegular()
}

// complaint picks the first error from what apt wrote, or else the first line.
func complaint(text string) string {
	text = strings.TrimSpace(text)
	for line := range strings.Lines(text) {
		if said, ok := strings.CutPrefix(line, "E: "); ok {
			return strings.TrimSpace(said)
		}
	}
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// compareVersions compares names by the numbers in them: 6.18.9 comes before 6.18.15.
func compareVersions(a, b string) int {
	x, y := numbers.FindAllString(a, -1), numbers.FindAllString(b, -1)
	return slices.CompareFunc(x, y, func(m, n string) int {
		i, _ := strconv.Atoi(m)
		j, _ := strconv.Atoi(n)
		return i - j
	})
}

var numbers = regexp.MustCompile(`[0-9]+`)
