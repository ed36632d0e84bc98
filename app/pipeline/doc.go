// Package pipeline holds the tests of the whole system in one process: files,
// agent, broker, transfer and an Elasticsearch of the tests' own that can be
// told to fail. Every test ends with the same question: is each line that was
// written in the index or in the poison topic?
package pipeline
