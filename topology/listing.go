package topology

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// listing is what nft -a list ruleset says.
type listing struct {
	tables []*listedTable
}

type listedTable struct {
	family, name string
	handle       uint64
	chains       []*listedChain
}

type listedChain struct {
	name   string
	handle uint64
	policy string // accept or drop; empty for a chain that is not attached to a hook
	rules  []listedRule
}

type listedRule struct {
	handle uint64
	text   string
}

var (
	tableLine  = regexp.MustCompile(`^table (\S+) (.+) \{ # handle (\d+)$`)
	chainLine  = regexp.MustCompile(`^\tchain (.+) \{ # handle (\d+)$`)
	ruleSuffix = regexp.MustCompile(` # handle (\d+)$`)
	policyText = regexp.MustCompile(`; policy (\w+);$`)
)

// parseListing reads the output of nft -a list ruleset. It relies on what nft's printer guarantees: tabs for depth, one
// statement a line, the handle at the end of a rule or behind the brace that opens a table or chain. Two things make it
// more than a loop over lines: strings have no escapes and may hold line ends, braces and text that looks like a handle;
// and a rule that jumps to a chain without name shows that chain's rules, without handles, in lines of its own.
func parseListing(text string) (*listing, error) {
	lines, err := statements(text)
	if err != nil {
		return nil, err
	}
	var (
		result  listing
		table   *listedTable
		chain   *listedChain
		skip    bool     // inside a set, map, counter … of the table
		pending []string // a rule that goes on over several lines
	)
	for number, line := range lines {
		depth := len(line) - len(strings.TrimLeft(line, "\t"))
		switch {
		case strings.TrimSpace(line) == "" && pending == nil:

		case table == nil:
			if strings.HasPrefix(line, "#") {
				break // nft's warnings about tables that iptables manages
			}
			match := tableLine.FindStringSubmatch(line)
			if match == nil {
				return nil, fmt.Errorf("statement %d of the listing is not a table: %q", number+1, line)
			}
			table = &listedTable{family: match[1], name: match[2], handle: parseHandle(match[3])}
			result.tables = append(result.tables, table)

		case skip:
			skip = line != "\t}"

		case chain == nil:
			if match := chainLine.FindStringSubmatch(line); match != nil {
				chain = &listedChain{name: match[1], handle: parseHandle(match[2])}
				table.chains = append(table.chains, chain)
			} else if line == "}" {
				table = nil
			} else {
				// A set, map, object or flow table; or the table's own comment or flags, in one line.
				skip = depth == 1 && opensBlock(line)
			}

		case pending != nil:
			pending = append(pending, strings.TrimLeft(line, "\t"))
			if depth == 2 && strings.HasPrefix(line, "\t\t}") {
				chain.add(strings.Join(pending, " "))
				pending = nil
			}

		case line == "\t}":
			chain = nil

		case opensBlock(line):
			pending = []string{strings.TrimLeft(line, "\t")}

		default:
			chain.add(strings.TrimLeft(line, "\t"))
		}
	}
	if table != nil {
		return nil, fmt.Errorf("the listing ends inside table %s %s", table.family, table.name)
	}
	return &result, nil
}

// add takes one statement of a chain: a rule if it ends in a handle; else the chain's type, comment, flags or devices.
func (c *listedChain) add(statement string) {
	if match := ruleSuffix.FindStringSubmatch(statement); match != nil {
		text := strings.TrimSuffix(statement, match[0])
		c.rules = append(c.rules, listedRule{handle: parseHandle(match[1]), text: text})
		return
	}
	if match := policyText.FindStringSubmatch(statement); match != nil && strings.HasPrefix(statement, "type ") {
		c.policy = match[1]
	}
}

// opensBlock reports whether a line ends in an opening brace, with or without a handle behind it.
func opensBlock(line string) bool {
	if match := ruleSuffix.FindString(line); match != "" {
		line = strings.TrimSuffix(line, match)
	}
	return strings.HasSuffix(line, " {")
}

// statements splits at line ends outside strings.
func statements(text string) ([]string, error) {
	var (
		list   []string
		start  int
		quoted bool
	)
	for i := range len(text) {
		switch {
		case text[i] == '"':
			quoted = !quoted
		case text[i] == '\n' && !quoted:
			list = append(list, text[start:i])
			start = i + 1
		}
	}
	if quoted {
		return nil, fmt.Errorf("the listing ends inside a string")
	}
	if start < len(text) {
		list = append(list, text[start:])
	}
	return list, nil
}

// parseHandle reads digits that a regular expression has found; a number that is too large becomes 0, which no handle is.
func parseHandle(digits string) uint64 {
	handle, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0
	}
	return handle
}
