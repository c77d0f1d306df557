package kernel

import (
	"regexp"
	"testing"

	"github.com/go-quicktest/qt"
)

func literally(text string) string { return regexp.QuoteMeta(text) }

const listText = `# a comment

Kernel: 6.1
# within a paragraph
Role: oldest
Lacks: kprobe.multi verdicts
Suite: bookworm
Package: linux-image-cloud-amd64
Version: 6.1.176-1
SHA256:
 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef linux-image-6.1.0-50-cloud-amd64

Kernel: 6.18
Suite: trixie-backports
Package: linux-image-6.18.*-cloud-amd64

Kernel: mine
Image: bzImage
Modules: /lib/modules/6.20`

func TestParseList(t *testing.T) {
	got, err := ParseList("ci/kernels", listText, "/home/me")
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.DeepEquals(got, List{
		{
			Name: "6.1", Role: "oldest", Lacks: []string{"kprobe.multi", "verdicts"}, Suite: "bookworm", Package: "linux-image-cloud-amd64",
			Version: "6.1.176-1", Files: []Pin{{
				"linux-image-6.1.0-50-cloud-amd64", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			}},
		},
		{Name: "6.18", Lacks: []string{}, Suite: "trixie-backports", Package: "linux-image-6.18.*-cloud-amd64"},
		{Name: "mine", Lacks: []string{}, Image: "/home/me/bzImage", Modules: "/lib/modules/6.20"},
	}))
	const known = "Kernel, Role, Lacks, Suite, Package, Version, SHA256, Image, Modules"
	for text, want := range map[string]string{
		"\n6.1 oldest bookworm":                           `list, line 2: "6.1 oldest bookworm" is no field: known are ` + known,
		"Role: oldest":                                    "list, line 2: a paragraph has no field Kernel, the name",
		"Kernel: ../x\nImage: x":                          `list, line 3: "../x" cannot be a kernel's name`,
		"Kernel: a\nKernel: b":                            "list, line 2: Kernel is given twice",
		"Kernel: a\nImage: x\n\nKernel: a\nImage: y":      "list, line 6: kernel a is listed twice",
		"Kernel: a\nImage: x\nRole: best":                 `list, line 4: "best" is no role: use oldest, stable, newest, or leave it out`,
		"Kernel: a\nImage: x\nSuite: y":                   "list, line 4: kernel a has an Image, and fields of a package too",
		"Kernel: a\nSuite: y":                             "list, line 3: kernel a has neither an Image, nor a Suite and a Package",
		"Kernel: a\nSuite: y\nPackage: z\nModules: m":     "list, line 5: kernel a has Modules, but no Image",
		"Kernel: a\nSuite: y\nPackage: z\nVersion: 1":     "list, line 5: kernel a needs both Version and SHA256, or neither",
		"Kernel: a\nSuite: y\nPackage: z\nSHA256:\n ab x": `list, line 6: "ab x" is no checksum and name of a package`,
		" goes on": "list, line 1: a line that goes on has no field before it",
	} {
		_, err := ParseList("list", text, "")
		qt.Check(t, qt.ErrorMatches(err, literally(want)), qt.Commentf("%s", text))
	}
}

func TestExtend(t *testing.T) {
	got := List{{Name: "6.1", Role: "oldest"}, {Name: "7.3", Role: "newest"}}.Extend(List{{Name: "mine", Role: "newest"}, {Name: "6.1", Suite: "x"}})
	qt.Check(t, qt.DeepEquals(got, List{{Name: "6.1", Suite: "x"}, {Name: "7.3"}, {Name: "mine", Role: "newest"}}))
}

func TestRewrite(t *testing.T) {
	src := Source{Name: "6.1", Role: "oldest", Suite: "bookworm", Package: "p", Version: "2", Files: []Pin{{"x", "ab"}, {"y", "cd"}}}
	const (
		pins  = "Version: 2\nSHA256:\n ab x\n cd y\n"
		added = "Kernel: 6.1\nRole: oldest\nSuite: bookworm\nPackage: p\n" + pins
	)
	for _, test := range [][2]string{
		{"", added},
		{"# mine\n", "# mine\n\n" + added},
		{"Kernel: 6.12\nVersion: 1\n", "Kernel: 6.12\nVersion: 1\n\n" + added},
		{"Kernel: 6.1\nSuite: s\n", "Kernel: 6.1\nSuite: s\n" + pins},
		{
			"# top\n\nKernel: 6.1\nVersion: 1\nSHA256:\n 00 x\n 11 z\n# why\nSuite: s\n\n# next\nKernel: 6.12\nVersion: 1\n",
			"# top\n\nKernel: 6.1\n# why\nSuite: s\n" + pins + "\n# next\nKernel: 6.12\nVersion: 1\n",
		},
	} {
		qt.Check(t, qt.Equals(Rewrite(test[0], src), test[1]))
	}
}

func TestUnknownKernel(t *testing.T) {
	_, err := List{{Name: "6.1"}, {Name: "6.12"}}.Find("6.2")
	qt.Assert(t, qt.ErrorMatches(err, literally(`unknown kernel "6.2": known are 6.1, 6.12`)))
}

func TestCompareVersions(t *testing.T) {
	qt.Check(t, qt.IsTrue(compareVersions("linux-image-6.18.9+deb13-cloud-amd64", "linux-image-6.18.15+deb13-cloud-amd64") < 0))
	qt.Check(t, qt.IsTrue(compareVersions("a-7.10", "a-7.9.99") > 0))
	qt.Check(t, qt.Equals(compareVersions("a-7.1", "a-7.1"), 0))
}

func TestComplaint(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"W: a warning\nE: Unable to locate package x\nE: more\n": "Unable to locate package x",
		"dpkg-deb: error: 'x.deb' is no archive\nmore":           "dpkg-deb: error: 'x.deb' is no archive",
	} {
		qt.Check(t, qt.Equals(complaint(text), want))
	}
}

func TestPlace(t *testing.T) {
	for name, want := range map[string]string{
		"./boot/vmlinuz-6.12.95+deb12-cloud-amd64":       "vmlinuz",
		"./usr/lib/modules/7.2/vmlinuz":                  "vmlinuz",
		"./boot/config-6.12":                             "config",
		"./usr/lib/modules/7.2/config":                   "config",
		"./boot/System.map-6.12":                         "",
		"./usr/share/doc/linux-image/changelog.gz":       "",
		"./lib/modules/6.1/kernel/net/x.ko":              "lib/modules/6.1/kernel/net/x.ko",
		"./usr/lib/modules/6.12/kernel/net/x.ko.xz":      "lib/modules/6.12/kernel/net/x.ko.xz",
		"./usr/lib/modules/6.12/kernel/sound/x.ko.xz":    "",
		"./usr/lib/modules/../../../etc/passwd":          "",
		"./usr/lib/modules/6.12/modules.builtin":         "lib/modules/6.12/modules.builtin",
		"./lib/modules/6.1/kernel/drivers/gpu/drm/x.ko":  "",
		"./lib/modules/6.1/kernel/drivers/net/gputest.o": "lib/modules/6.1/kernel/drivers/net/gputest.o",
	} {
		qt.Check(t, qt.Equals(place(name), want), qt.Commentf("%s", name))
	}
}
