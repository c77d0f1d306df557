package topology

import (
	"fmt"
	"slices"
	"strings"
)

// readRules joins nft's listing with the kernel's own list of rules. The listing is text for humans, in which a comment
// that another program set may look like anything; the kernel's list has no texts. Only where both have the same rules
// in the same order, with the same comments, are the texts believed.
func readRules(text string, known []kernelRule) (map[RuleRef]Rule, error) {
	listing, err := parseListing(text)
	if err != nil {
		return nil, fmt.Errorf("nft's listing cannot be read: %w", err)
	}
	type chainKey struct{ family, table, chain string }
	chains := make(map[chainKey][]kernelRule)
	for _, rule := range known {
		key := chainKey{rule.family, rule.table, rule.chain}
		chains[key] = append(chains[key], rule)
	}

	families := make(map[string]int)
	for _, table := range listing.tables {
		families[table.name]++
	}

	rules := make(map[RuleRef]Rule)
	for _, table := range listing.tables {
		add := func(ref RuleRef, rule Rule) {
			rules[ref] = rule
			if families[table.name] == 1 {
				ref.TableHandle = 0 // the name is enough
				rules[ref] = rule
			}
		}
		for _, chain := range table.chains {
			key := chainKey{table.family, table.name, chain.name}
			own := chains[key]
			delete(chains, key)
			if !slices.EqualFunc(chain.rules, own, sameRule) {
				return nil, fmt.Errorf("nft's listing of chain %s in table %s %s differs from the kernel's rules",
					chain.name, table.family, table.name)
			}
			ref := RuleRef{Table: table.name, TableHandle: table.handle, Chain: chain.name}
			if chain.policy != "" {
				add(ref, Rule{Family: table.family, Text: "policy " + chain.policy})
			}
			for i, rule := range chain.rules {
				ref.Handle = rule.handle
				add(ref, Rule{Family: table.family, Text: rule.text, Comment: own[i].comment})
			}
		}
	}
	for key := range chains {
		if !anonymousChain(key.chain) {
			return nil, fmt.Errorf("nft's listing leaves out chain %s in table %s %s", key.chain, key.family, key.table)
		}
	}
	return rules, nil
}

// sameRule compares handle and comment. nft prints the comment last.
func sameRule(listed listedRule, known kernelRule) bool {
	return listed.handle == known.handle &&
		(known.comment == "" || strings.HasSuffix(listed.text, ` comment "`+known.comment+`"`))
}
