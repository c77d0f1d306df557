package vm

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/go-quicktest/qt"
)

// literally is a pattern for the whole of a text.
func literally(text string) string { return regexp.QuoteMeta(text) }

// modulesFolder is a folder as depmod leaves it.
func modulesFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep": "kernel/net/netfilter/nft_ct.ko.xz: kernel/net/netfilter/nf_conntrack.ko.xz kernel/net/netfilter/nf_tables.ko.xz kernel/lib/libcrc32c.ko.xz\n" +
			"kernel/net/netfilter/nf_conntrack.ko.xz: kernel/lib/libcrc32c.ko.xz\n" +
			"kernel/net/netfilter/nf_tables.ko.xz: kernel/lib/libcrc32c.ko.xz\n" +
			"kernel/lib/libcrc32c.ko.xz:\n" +
			"kernel/drivers/net/veth.ko:\n" +
			"kernel/net/sched/sch-netem.ko.xz:\n",
		"modules.builtin": "kernel/drivers/char/virtio_console.ko\n",
		"modules.alias": "# Aliases extracted from modules themselves.\n" +
			"alias nft-expr-1-ct nft_ct\n" +
			"alias rtnl-link-veth veth\n" +
			"alias net-pf-*-proto-1 veth\n",
	} {
		qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)))
	}
	return dir
}

func TestModuleClosure(t *testing.T) {
	tree, err := readModules(modulesFolder(t))
	qt.Assert(t, qt.IsNil(err))
	const netfilter = "kernel/net/netfilter/"
	for _, test := range []struct {
		names, want []string
	}{
		{nil, nil},
		{[]string{"virtio_console"}, nil},
		{[]string{"veth"}, []string{"kernel/drivers/net/veth.ko"}},
		{[]string{"sch_netem", "sch-netem"}, []string{"kernel/net/sched/sch-netem.ko.xz"}},
		{
			[]string{"nf_tables", "nft-ct"},
			[]string{
				"kernel/lib/libcrc32c.ko.xz", netfilter + "nf_tables.ko.xz", netfilter + "nf_conntrack.ko.xz",
				netfilter + "nft_ct.ko.xz",
			},
		},
	} {
		got, err := tree.closure("6.12", test.names)
		qt.Check(t, qt.IsNil(err))
		qt.Check(t, qt.DeepEquals(got, test.want))
	}
	qt.Check(t, qt.DeepEquals(tree.below("net/sched"), []string{"kernel/net/sched/sch-netem.ko.xz"}))
	qt.Check(t, qt.DeepEquals(tree.present([]string{"veth", "gone", "virtio-console"}), []string{"veth", "virtio-console"}))
}

func TestUnknownModule(t *testing.T) {
	tree, err := readModules(modulesFolder(t))
	qt.Assert(t, qt.IsNil(err))
	for name, want := range map[string]string{
		"nft_cta":   "kernel 6.12 has no module nft_cta; the nearest names are nft_ct",
		"netem":     "kernel 6.12 has no module netem; the nearest names are sch_netem",
		"wireguard": "kernel 6.12 has no module wireguard",
	} {
		_, err := tree.closure("6.12", []string{"veth", name})
		qt.Check(t, qt.ErrorMatches(err, literally(want)))
	}
	none, err := readModules("")
	qt.Assert(t, qt.IsNil(err))
	_, err = none.closure("bzImage", []string{"veth"})
	qt.Check(t, qt.ErrorMatches(err, literally("kernel bzImage has no module veth: its modules are not known; "+
		"name their folder, or leave out the module if it is built in")))
}

func TestModulesFolderWithoutDependencies(t *testing.T) {
	dir := t.TempDir()
	_, err := readModules(dir)
	qt.Assert(t, qt.ErrorMatches(err, literally("modules folder "+dir+" has no modules.dep: run depmod for it")))
}

func TestAliases(t *testing.T) {
	tree, err := readModules(modulesFolder(t))
	qt.Assert(t, qt.IsNil(err))
	for name, want := range map[string][]string{
		"nft-expr-1-ct":     {"nft_ct"},
		"rtnl_link-veth":    {"veth"},
		"net-pf-16-proto-1": {"veth"},
		"net-pf-16-proto-2": nil,
	} {
		got, err := tree.aliases(name)
		qt.Check(t, qt.IsNil(err))
		qt.Check(t, qt.DeepEquals(got, want), qt.Commentf("%s", name))
	}
}
