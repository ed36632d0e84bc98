// Package selftest tortures an agent on this machine's own disk and counts
// what became of each line.
//
//	streams ──► files ──► agent, killed again and again ──► embedded broker
//	   │                                                         │
//	   └──────────────► ledger ◄───────────── reader ◄───────────┘
//
// Each stream writes lines that prove themselves, and rotates its files in one
// of the ways that files are rotated. The ledger knows each line that was
// written and sees each record that arrived. The agent is a child process.
package selftest
