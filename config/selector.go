package config

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Selector names processes. All that it says must hold.
type Selector struct {
	// Nodes are their names.
	Nodes []string `json:"nodes,omitempty"`
	// Percent of all nodes, by a hash of the name and Salt, so that it is for
	// each node to say whether it is one of them.
	Percent float64 `json:"percent,omitempty"`
	Salt    string  `json:"salt,omitempty"`
	// Labels are those that a node must have.
	Labels map[string]string `json:"labels,omitempty"`
}

func (s *Selector) check() error {
	if len(s.Nodes) == 0 && s.Percent == 0 && len(s.Labels) == 0 {
		return errors.New("it selects nobody; name nodes, a percentage or a label")
	}
	if s.Percent != 0 && !(s.Percent >= 0.01 && s.Percent <= 100) {
		return fmt.Errorf("%g is not a percentage from 0.01 to 100", s.Percent)
	}
	for _, node := range s.Nodes {
		if !nodeName.MatchString(node) {
			return fmt.Errorf("%q is not a node name", node)
		}
	}
	for key, value := range s.Labels {
		if !labelWord.MatchString(key) || !labelWord.MatchString(value) {
			return fmt.Errorf("%q is not a label", key+"="+value)
		}
	}
	return nil
}

// Selects says whether a node is one of those that the selector names.
func (s *Selector) Selects(node string, labels map[string]string) bool {
	if len(s.Nodes) > 0 && !slices.Contains(s.Nodes, node) {
		return false
	}
	for key, value := range s.Labels {
		if labels[key] != value {
			return false
		}
	}
	return s.Percent == 0 || place(s.Salt, node) < s.Percent/100
}

// place is where a node is between 0 and 1. Its hash must be even in every
// bit: names of nodes differ in their last digit.
func place(salt, node string) float64 {
	sum := sha256.Sum256([]byte(salt + "\n" + node))
	return float64(binary.BigEndian.Uint64(sum[:])) / math.MaxUint64
}

// maxHashes is some 0.2 s of looking for a salt.
const maxHashes = 1_000_000

// Spread sets Salt so that of the nodes, all of which have what else the
// selector asks for, as many as Percent means are selected, and one at least.
func (s *Selector) Spread(nodes []string) {
	if s.Percent == 0 || len(nodes) == 0 {
		return
	}
	want := max(1, int(math.Round(float64(len(nodes))*s.Percent/100)))
	best, off := "", math.MaxInt
	for i := 0; off > 0 && (i*len(nodes) < maxHashes || off == math.MaxInt); i++ {
		s.Salt = strconv.Itoa(i)
		n := 0
		for _, node := range nodes {
			if s.Selects(node, s.Labels) {
				n++
			}
		}
		if d := max(n-want, want-n); n > 0 && d < off {
			best, off = s.Salt, d
		}
	}
	s.Salt = best
}

// String lists what a selector asks for, as the flags of the command do.
func (s Selector) String() string {
	var words []string
	if len(s.Nodes) > 0 {
		words = append(words, "--nodes "+strings.Join(s.Nodes, ","))
	}
	if s.Percent > 0 {
		words = append(words, fmt.Sprintf("--percent %g", s.Percent))
	}
	for _, key := range slices.Sorted(maps.Keys(s.Labels)) {
		words = append(words, "--label "+key+"="+s.Labels[key])
	}
	return strings.Join(words, " ")
}
