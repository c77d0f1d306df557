// Package lineage tests that packets which have to do with each other are told so, and others are not.
package lineage
