// Package oracle knows which lines were issued, and what became of each.
//
//	Ledger.Claim ──► Text.Append ──► file ──► whatever is under test ──► topic, index
//	Ledger.Owe, once it is complete there                                    │
//	Tally.Verdict ◄──────────────────────────────────────────── Tally.See ◄──┘
//
// Tests of the whole pipeline ask it, and so does whoever tortures a pipeline
// from outside. It is never killed nor paused: what it does not know of was
// never issued.
package oracle
