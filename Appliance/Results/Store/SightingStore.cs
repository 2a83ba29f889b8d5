using System.Buffers.Binary;
using System.Data.Common;
using System.Security.Cryptography;
using System.Text;

namespace Vmsweep.Appliance.Results.Store;

/// <param name="First">The day of the first scan that met it there.</param>
/// <param name="Last">The day of the last scan that did, or could not tell; null: the VM's last scan.</param>
internal sealed record Sighting(long Machine, string Path, long SizeBytes, long First, long? Last);

/// <summary>
/// Where executable contents were seen. A content at a path is a place, with a number; of each VM is kept which places it has had from which day to which,
/// by blocks of numbers. A scan that meets what the one before met changes nothing, and what many VMs have costs each of them next to nothing.
/// </summary>
/// <param name="mostPlaces">Of all VMs together.</param>
internal sealed class SightingStore(Database database, long mostPlaces = SightingStore.MostPlaces)
{
    /// <summary>Some 150 bytes each: three gigabytes.</summary>
    public const long MostPlaces = 20_000_000;

    /// <summary>With those that are gone.</summary>
    private const int MostOfMachine = 2 * SeenContent.MostOfMachine;

    private const string Count = "places";

    /// <summary>Takes what a scan met. Within the caller's transaction.</summary>
    /// <param name="leftOut">How many more there were.</param>
    /// <param name="before">The day of the scan before; null for the first one.</param>
    public void Take(long machine, IReadOnlyList<SeenContent> seen, long leftOut, long day, long? before, ReadPlaces places)
    {
        Dictionary<(long Block, long First, long Last), SortedSet<int>> rows = Rows(machine);
        long sightings = rows.Sum(r => (long)r.Value.Count);
        if (seen.Count == 0 && sightings == 0 && leftOut == 0)
        {
            return;
        }

        HashSet<(long, long, long)> changed = [];
        Dictionary<long, HashSet<int>> open = [];
        foreach (((long block, _, long last), SortedSet<int> set) in rows.Where(r => r.Key.Last == 0))
        {
            Of(open, block).UnionWith(set);
        }

        long room = mostPlaces - (database.Number("SELECT value FROM tally WHERE name = $name", ("$name", Count)) ?? 0);
        long added = 0;
        Dictionary<long, HashSet<int>> met = [];
        long[] ids = Numbers(seen, isFree: () => added < room && sightings + added < MostOfMachine, () => added++);
        foreach (long id in ids)
        {
            if (id == 0)
            {
                leftOut++;
                continue;
            }

            (long block, int place) = (id / PlaceSet.Size, (int)(id % PlaceSet.Size));
            if (!Of(met, block).Add(place) || (open.TryGetValue(block, out HashSet<int>? before0) && before0.Contains(place)))
            {
                continue;
            }

            Row((block, day, 0)).Add(place);
        }

        if (before is { } then)
        {
            Close(then);
        }

        Write(machine, rows, changed);
        database.Change("INSERT INTO tally (name, value) VALUES ($name, $added) ON CONFLICT (name) DO UPDATE SET value = tally.value + excluded.value", ("$name", Count), ("$added", added));
        database.Change("UPDATE machine SET sightings = $count, left_out = $left WHERE id = $id", ("$count", rows.Sum(r => (long)r.Value.Count)), ("$left", leftOut), ("$id", machine));

        SortedSet<int> Row((long, long, long) key)
        {
            changed.Add(key);
            if (!rows.TryGetValue(key, out SortedSet<int>? row))
            {
                rows.Add(key, row = []);
            }

            return row;
        }

        void Close(long last)
        {
            List<(long Block, long First, int Place)> gone = [];
            foreach ((long block, long first, long _) in rows.Keys.Where(k => k.Last == 0 && k.First != day))
            {
                HashSet<int> here = met.GetValueOrDefault(block, []);
                gone.AddRange(rows[(block, first, 0)].Where(p => !here.Contains(p)).Select(p => (block, first, p)));
            }

            string?[] paths = new string?[gone.Count];
            database.ForEach("SELECT path FROM place WHERE id = $id", ["$id"], [.. gone.Select(g => (object[])[(g.Block * PlaceSet.Size) + g.Place])], (i, row) => paths[i] = row.GetString(0));
            foreach ((int i, (long block, long first, int place)) in gone.Index())
            {
                if (paths[i] is not { } was || places.WhyUnseen(was) is null)
                {
                    Row((block, first, 0)).Remove(place);
                    Row((block, first, Math.Max(first, last))).Add(place);
                }
            }
        }
    }

    /// <summary>Where a content was seen, as far as it is kept.</summary>
    public IReadOnlyList<Sighting> Find(byte[] sha256)
    {
        List<(long Id, string Path, long Size)> at = [];
        using (DbCommand find = database.Command("SELECT id, path, size FROM place WHERE prefix = $prefix AND sha256 = $sha256", "$prefix", "$sha256"))
        {
            database.Set(find, PrefixOf(sha256), sha256);
            using DbDataReader row = find.ExecuteReader();
            while (row.Read())
            {
                at.Add((row.GetInt64(0), row.GetString(1), row.GetInt64(2)));
            }
        }

        List<Sighting> found = [];
        using DbCommand rows = database.Command("SELECT machine, first, last, places FROM sighting WHERE block = $block", "$block");
        foreach (IGrouping<long, (long Id, string Path, long Size)> block in at.GroupBy(p => p.Id / PlaceSet.Size))
        {
            Dictionary<int, (string Path, long Size)> places = block.ToDictionary(p => (int)(p.Id % PlaceSet.Size), p => (p.Path, p.Size));
            database.Set(rows, block.Key);
            using DbDataReader row = rows.ExecuteReader();
            while (row.Read())
            {
                foreach (int place in PlaceSet.Unpack(row.GetFieldValue<byte[]>(3)).Where(places.ContainsKey))
                {
                    found.Add(new Sighting(row.GetInt64(0), places[place].Path, places[place].Size, row.GetInt64(1), row.GetInt64(2) is var last and > 0 ? last : null));
                }
            }
        }

        return found;
    }

    /// <summary>Forgets what was gone before a day, and places that no VM has any more. Each block is a transaction of its own.</summary>
    /// <returns>How many places are forgotten.</returns>
    public long Forget(long day)
    {
        long forgotten = 0;
        database.Change("DELETE FROM sighting WHERE last > 0 AND last < $day", ("$day", day));
        long most = (database.Number("SELECT max(id) FROM place") ?? -1) / PlaceSet.Size;
        for (long block = (database.Number("SELECT min(id) FROM place") ?? 0) / PlaceSet.Size; block <= most; block++)
        {
            using DatabaseTransaction transaction = database.Begin(isWriting: true);
            HashSet<int> used = [];
            using (DbCommand rows = database.Command("SELECT places FROM sighting WHERE block = $block", "$block"))
            {
                database.Set(rows, block);
                using DbDataReader row = rows.ExecuteReader();
                while (row.Read())
                {
                    used.UnionWith(PlaceSet.Unpack(row.GetFieldValue<byte[]>(0)));
                }
            }

            List<long> unused = [];
            using (DbCommand places = database.Command("SELECT id FROM place WHERE id BETWEEN $from AND $to", "$from", "$to"))
            {
                database.Set(places, block * PlaceSet.Size, (block * PlaceSet.Size) + PlaceSet.Size - 1);
                using DbDataReader row = places.ExecuteReader();
                while (row.Read())
                {
                    if (!used.Contains((int)(row.GetInt64(0) % PlaceSet.Size)))
                    {
                        unused.Add(row.GetInt64(0));
                    }
                }
            }

            database.ForEach("DELETE FROM place WHERE id = $id", ["$id"], [.. unused.Select(u => (object[])[u])]);

            database.Change("UPDATE tally SET value = value - $count WHERE name = $name", ("$count", unused.Count), ("$name", Count));
            transaction.Commit();
            forgotten += unused.Count;
        }

        return forgotten;
    }

    private Dictionary<(long Block, long First, long Last), SortedSet<int>> Rows(long machine)
    {
        Dictionary<(long, long, long), SortedSet<int>> rows = [];
        using DbCommand find = database.Command("SELECT block, first, last, places FROM sighting WHERE machine = $machine", "$machine");
        database.Set(find, machine);
        using DbDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            rows.Add((row.GetInt64(0), row.GetInt64(1), row.GetInt64(2)), [.. PlaceSet.Unpack(row.GetFieldValue<byte[]>(3))]);
        }

        return rows;
    }

    private void Write(long machine, Dictionary<(long Block, long First, long Last), SortedSet<int>> rows, HashSet<(long, long, long)> changed)
    {
        database.ForEach(
            "INSERT INTO sighting (machine, block, first, last, places) VALUES ($machine, $block, $first, $last, $places) ON CONFLICT (machine, block, first, last) DO UPDATE SET places = excluded.places",
            ["$machine", "$block", "$first", "$last", "$places"],
            [.. changed.Where(c => rows[c].Count > 0).Select(c => (object[])[machine, c.Item1, c.Item2, c.Item3, PlaceSet.Pack(rows[c])])]);
        database.ForEach(
            "DELETE FROM sighting WHERE machine = $machine AND block = $block AND first = $first AND last = $last", ["$machine", "$block", "$first", "$last"],
            [.. changed.Where(c => rows[c].Count == 0).Select(c => (object[])[machine, c.Item1, c.Item2, c.Item3])]);
    }

    private static HashSet<int> Of(Dictionary<long, HashSet<int>> sets, long block)
    {
        if (!sets.TryGetValue(block, out HashSet<int>? set))
        {
            sets.Add(block, set = []);
        }

        return set;
    }

    private static long PrefixOf(byte[] sha256) => BinaryPrimitives.ReadInt64BigEndian(sha256);

    /// <summary>
    /// Numbers of places, 0 for one that has none and may not be given one. They are looked up by 128 bits of digests, half of them over hash and path: an index over both would double the store.
    /// </summary>
    private long[] Numbers(IReadOnlyList<SeenContent> seen, Func<bool> isFree, Action count)
    {
        string[] paths = [.. seen.Select(c => StoredText.Of(c.Path, SeenContent.MostPath))];
        (long Prefix, long Digest)[] keys =
        [
            .. seen.Select((c, i) => (PrefixOf(c.Sha256), BinaryPrimitives.ReadInt64BigEndian(SHA256.HashData([.. c.Sha256, .. Encoding.UTF8.GetBytes(paths[i])])))),
        ];
        Dictionary<(long, long), long> known = [];
        database.ForEach(
            "SELECT id FROM place WHERE prefix = $prefix AND digest = $digest", ["$prefix", "$digest"], [.. keys.Select(k => (object[])[k.Prefix, k.Digest])], (i, row) => known[keys[i]] = row.GetInt64(0));
        List<int> added = [];
        for (int i = 0; i < keys.Length; i++)
        {
            if (!known.ContainsKey(keys[i]) && isFree())
            {
                known.Add(keys[i], 0);
                added.Add(i);
                count();
            }
        }

        database.ForEach(
            "INSERT INTO place (prefix, digest, sha256, size, path) VALUES ($prefix, $digest, $sha256, $size, $path) RETURNING id", ["$prefix", "$digest", "$sha256", "$size", "$path"],
            [.. added.Select(i => (object[])[keys[i].Prefix, keys[i].Digest, seen[i].Sha256, seen[i].SizeBytes, paths[i]])], (n, row) => known[keys[added[n]]] = row.GetInt64(0));
        return [.. keys.Select(k => known.GetValueOrDefault(k))];
    }
}
