package shared

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	groupPartitions = 4
	groupKeys       = 20
)

// group is two members, which are processes, and what they print, in the order in which they print.
type group struct {
	checks  *checks
	topic   string
	name    string
	written int
	// Members write to one pipe, so that the order between them is known.
	output      *os.File
	lines       chan string
	members     []*exec.Cmd
	assignments []string
	read        []seen
}

type seen struct {
	partition int32
	offset    int64
	value     string
}

func startGroup(ctx context.Context, c *checks, of string) (*group, error) {
	topic, err := c.topic(ctx, of, groupPartitions)
	if err != nil {
		return nil, err
	}
	input, output, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(input); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	return &group{checks: c, topic: topic, name: c.name(of), output: output, lines: lines}, nil
}

// end kills what still runs and waits until all output was taken.
func (g *group) end() error {
	for _, member := range g.members {
		if member.ProcessState == nil {
			_ = member.Process.Kill()
			_ = member.Wait()
		}
	}
	err := g.output.Close()
	for range g.lines {
	}
	return err
}

// start starts a member: the words of CLIENT_SELF, or this program.
func (g *group) start() (*exec.Cmd, error) {
	words := strings.Fields(os.Getenv("CLIENT_SELF"))
	if len(words) == 0 {
		words = os.Args[:1]
	}
	words = append(words, "member", g.checks.broker, g.topic, g.name)
	member := exec.Command(words[0], words[1:]...)
	member.Stdout = g.output
	member.Stderr = os.Stderr
	if err := member.Start(); err != nil {
		return nil, err
	}
	g.members = append(g.members, member)
	return member, nil
}

// write writes records with numbers that count up in each key. A key has one partition.
func (g *group) write(ctx context.Context, count int) error {
	records := make([]Record, count)
	for i := range records {
		key, number := (g.written+i)%groupKeys, (g.written+i)/groupKeys
		records[i] = Record{
			Topic:     g.topic,
			Partition: int32(key % groupPartitions),
			Key:       fmt.Appendf(nil, "k%d", key),
			Value:     fmt.Appendf(nil, "k%d:%d", key, number),
		}
	}
	err := write(ctx, g.checks, ProduceOptions{}, records, int64(g.written/groupPartitions))
	g.written += count
	return err
}

// until takes lines until something is so.
func (g *group) until(what string, so func() bool) error {
	return g.untilWithin(patience, what, so)
}

func (g *group) untilWithin(wait time.Duration, what string, so func() bool) error {
	end := time.After(wait)
	for !so() {
		select {
		case line := <-g.lines:
			if err := g.take(line); err != nil {
				return err
			}
		case <-end:
			return fmt.Errorf("not within %v: %s; assigned were %q, %d of %d records came",
				wait, what, g.assignments, len(g.distinct()), g.written)
		}
	}
	return nil
}

func (g *group) take(line string) error {
	words := strings.SplitN(line, " ", 3)
	if words[0] == "assigned" {
		if len(words) > 1 && words[1] != "" {
			g.assignments = append(g.assignments, words[1])
		}
		return nil
	}
	if len(words) != 3 {
		return fmt.Errorf("a member printed %q", line)
	}
	partition, err := strconv.ParseInt(words[0], 10, 32)
	offset, err2 := strconv.ParseInt(words[1], 10, 64)
	if err := errors.Join(err, err2); err != nil {
		return fmt.Errorf("a member printed %q", line)
	}
	g.read = append(g.read, seen{int32(partition), offset, words[2]})
	return nil
}

// alone: the last assignment that anybody was given is of everything.
func (g *group) alone() bool {
	return len(g.assignments) > 0 && g.assignments[len(g.assignments)-1] == "0,1,2,3"
}

// shared: the last two assignments are two halves.
func (g *group) shared() bool {
	n := len(g.assignments)
	if n < 2 {
		return false
	}
	a, b := strings.Split(g.assignments[n-2], ","), strings.Split(g.assignments[n-1], ",")
	both := slices.Sorted(slices.Values(slices.Concat(a, b)))
	return len(a) == 2 && strings.Join(both, ",") == "0,1,2,3"
}

// distinct is what was read, without repetitions, in the order in which it was first read.
func (g *group) distinct() []seen {
	known := map[Partition]map[int64]bool{}
	var first []seen
	for _, record := range g.read {
		partition := Partition{g.topic, record.partition}
		if known[partition] == nil {
			known[partition] = map[int64]bool{}
		}
		if !known[partition][record.offset] {
			known[partition][record.offset] = true
			first = append(first, record)
		}
	}
	return first
}

func (g *group) readAll() bool { return len(g.distinct()) >= g.written }

// inOrder checks that the records of each key were first read in the order of writing, none missing.
func (g *group) inOrder() error {
	next := map[string]int{}
	for _, record := range g.distinct() {
		key, text, _ := strings.Cut(record.value, ":")
		if text != strconv.Itoa(next[key]) {
			return fmt.Errorf("key %s: %s came where %d was due", key, text, next[key])
		}
		next[key]++
	}
	for key := range groupKeys {
		if name := fmt.Sprintf("k%d", key); next[name] != g.written/groupKeys {
			return fmt.Errorf("key %s: %d records came, not %d", name, next[name], g.written/groupKeys)
		}
	}
	return nil
}

// committed waits until everything is committed; members do so after they print.
func (g *group) committed(ctx context.Context, least map[int32]Committed) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		now, err := g.checks.Committed(ctx, g.name, g.topic, groupPartitions)
		if err != nil {
			return fmt.Errorf("committed offsets: %w", err)
		}
		all := true
		for partition := range int32(groupPartitions) {
			if now[partition].Offset < least[partition].Offset {
				return fmt.Errorf("the offset of partition %d went from %d back to %d",
					partition, least[partition].Offset, now[partition].Offset)
			}
			all = all && now[partition].Offset == int64(g.written/groupPartitions)
		}
		if all {
			return nil
		}
		least = now
		select {
		case <-ctx.Done():
			return fmt.Errorf("committed is %v, not everything", now)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// exited waits for a member that was told to end.
func exited(member *exec.Cmd) error {
	stop := time.AfterFunc(patience, func() { _ = member.Process.Kill() })
	defer stop.Stop()
	return member.Wait()
}

// twoMembers brings a group to where two members share the partitions, with records in flight.
func (g *group) twoMembers(ctx context.Context) (*exec.Cmd, error) {
	if _, err := g.start(); err != nil {
		return nil, err
	}
	if err := g.until("the first member has all partitions", g.alone); err != nil {
		return nil, err
	}
	if err := g.write(ctx, 200); err != nil {
		return nil, err
	}
	second, err := g.start()
	if err != nil {
		return nil, err
	}
	if err := g.until("two members share the partitions", g.shared); err != nil {
		return nil, err
	}
	if err := g.write(ctx, 400); err != nil {
		return nil, err
	}
	return second, g.until("some of it is read", func() bool { return len(g.distinct()) > 300 })
}

func rebalanceJoinLeave(ctx context.Context, c *checks) (err error) {
	g, err := startGroup(ctx, c, "rebalance-leave")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.end()) }()
	second, err := g.twoMembers(ctx)
	if err != nil {
		return err
	}
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := exited(second); err != nil {
		return fmt.Errorf("the member that left: %w", err)
	}
	// A member that did not say that it leaves would be missed after its session timeout of 6 s only.
	if err := g.untilWithin(5*time.Second, "the other has all partitions", g.alone); err != nil {
		return err
	}
	return g.rest(ctx, nil)
}

func rebalanceCrash(ctx context.Context, c *checks) (err error) {
	g, err := startGroup(ctx, c, "rebalance-crash")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.end()) }()
	second, err := g.twoMembers(ctx)
	if err != nil {
		return err
	}
	if err := second.Process.Kill(); err != nil {
		return err
	}
	if err := second.Wait(); err == nil {
		return fmt.Errorf("the member ended before it was killed")
	}
	committed, err := c.Committed(ctx, g.name, g.topic, groupPartitions)
	if err != nil {
		return fmt.Errorf("committed offsets: %w", err)
	}
	if err := g.until("the other has all partitions", g.alone); err != nil {
		return err
	}
	return g.rest(ctx, committed)
}

// rest writes and waits for the rest of 1000 records, and checks them all.
func (g *group) rest(ctx context.Context, committed map[int32]Committed) error {
	if err := g.write(ctx, 1000-g.written); err != nil {
		return err
	}
	if err := g.until("everything is read", g.readAll); err != nil {
		return err
	}
	if err := g.inOrder(); err != nil {
		return err
	}
	return g.committed(ctx, committed)
}
