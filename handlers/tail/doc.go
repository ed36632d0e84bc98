// Package tail follows files and hands their lines out as batches. It is a
// Watermill subscriber: one message is one contiguous range of one file, and a
// position moves only when the message of everything before it was acked.
//
// One goroutine, the source, owns all state. A few readers take turns: each
// turn reads one chunk of one file and cuts it into lines. Nothing is held for
// an idle file but its state: no goroutine, no buffer, no watch.
//
// Scanning is the truth. Directory watches are a hint that makes a new line
// seen at once, and everything works without them.
//
// A file here is one generation of an inode: its content from birth, or from
// a truncation, until it is cut again or gone. What a file is called does not
// matter: a renamed file goes on, a copy of a truncated one goes on, a new
// file under an old name starts.
//
// Lines are cut where the newlines are, by split, or by the rules of an input
// whose lines are encoded, wrapped, or joined to events, by join. Either way a
// place is all that going on needs to know.
package tail
