using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Tests.Results.Postgres;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Nodes;

/// <summary>Leases that nodes share.</summary>
[Collection(PostgresCollection.Name)]
public sealed class SharedLeaseTests(PostgresFixture server) : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void What_a_dead_node_has_left_another_ends_and_what_a_living_one_has_it_does_not()
    {
        using LeaseJournal one = Journal("one");
        using LeaseJournal two = Journal("two");
        Lease lease = Begin(one, "far");
        lease.Update(r => r with { Details = new Dictionary<string, string> { ["made"] = "yes" } });
        Assert.Equal((lease.Record.Id, true), (Assert.Single(two.List()).Record.Id, two.List()[0].IsHeld));
        Assert.False(two.TryTake(lease.Record.Id, out _));
        Die("one");
        Assert.False(two.List()[0].IsHeld);
        Assert.True(two.TryTake(lease.Record.Id, out Lease? taken));
        Assert.Equal("yes", taken.Record.Details["made"]);
        taken.Complete();
        Assert.Empty(one.List());
    }

    [Fact]
    public void What_is_on_a_nodes_own_machine_is_its_own_to_end()
    {
        using (LeaseJournal one = Journal("one"))
        {
            // Left without being completed, as what is kept is.
            Begin(one, "here").Dispose();
        }

        using LeaseJournal two = Journal("two");
        Guid id = Assert.Single(two.List()).Record.Id;
        Assert.True(two.List()[0].IsHeld);
        Assert.False(two.TryTake(id, out _));
        using LeaseJournal again = Journal("one");
        Assert.True(again.TryTake(id, out Lease? taken));
        taken.Complete();
        Assert.Empty(two.List());
    }

    [Fact]
    public void Of_many_that_reap_one_takes_it()
    {
        using (LeaseJournal one = Journal("one"))
        {
            Begin(one, "far").Dispose();
        }

        int taken = 0;
        LeaseJournal[] all = [.. Enumerable.Range(0, 6).Select(i => Journal($"n{i}"))];
        Parallel.ForEach(all, journal =>
        {
            if (journal.TryTake(journal.List()[0].Record.Id, out _))
            {
                Interlocked.Increment(ref taken);
            }
        });

        // Not before all have tried: what one holds is free again when it ends.
        Array.ForEach(all, j => j.Dispose());
        Assert.Equal(1, taken);
    }

    private static Lease Begin(LeaseJournal journal, string connector) => journal.Begin("test", connector, "vm", "vm", _ => new Dictionary<string, string>());

    private DatabasePlace Place(string node) => server.Place(_scratch["state"], node);

    private LeaseJournal Journal(string node) => new(_scratch["leases-" + node], TimeProvider.System, new SharedLeases(Place(node).Server!, connector => connector == "here"));

    private void Die(string node)
    {
        using Database database = Database.Open(Place("one"), TimeProvider.System)!;
        database.Change("UPDATE node SET seen = seen - 3600000 WHERE name = $name", ("$name", node));
    }
}
