// Package firewall tests a ruleset: a template to copy. README.md says how.
package firewall
