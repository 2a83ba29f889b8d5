using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Data.Sqlite;

namespace Vmsweep.Appliance.Results.Sqlite;

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
        using (var numbers = new Numbers(database))
        {
            foreach (SeenContent content in seen)
            {
                (long id, bool isNew) = numbers.Of(content, mayAdd: added < room && sightings + added < MostOfMachine);
                added += isNew ? 1 : 0;
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
        }

        if (before is { } then)
        {
            Close(then);
        }

        Write(machine, rows, changed);
        database.Change("INSERT INTO tally (name, value) VALUES ($name, $added) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value", ("$name", Count), ("$added", added));
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
            using SqliteCommand path = database.Command("SELECT path FROM place WHERE id = $id", "$id");
            foreach ((long block, long first, long _) in rows.Keys.Where(k => k.Last == 0 && k.First != day).ToList())
            {
                HashSet<int> here = met.GetValueOrDefault(block, []);
                foreach (int gone in rows[(block, first, 0)].Where(p => !here.Contains(p)).ToList())
                {
                    Database.Set(path, (block * PlaceSet.Size) + gone);
                    if (path.ExecuteScalar() is not string was || places.WhyUnseen(was) is null)
                    {
                        Row((block, first, 0)).Remove(gone);
                        Row((block, first, Math.Max(first, last))).Add(gone);
                    }
                }
            }
        }
    }

    /// <summary>Where a content was seen, as far as it is kept.</summary>
    public IReadOnlyList<Sighting> Find(byte[] sha256)
    {
        List<(long Id, string Path, long Size)> at = [];
        using (SqliteCommand find = database.Command("SELECT id, path, size FROM place WHERE prefix = $prefix AND sha256 = $sha256", "$prefix", "$sha256"))
        {
            Database.Set(find, PrefixOf(sha256), sha256);
            using SqliteDataReader row = find.ExecuteReader();
            while (row.Read())
            {
                at.Add((row.GetInt64(0), row.GetString(1), row.GetInt64(2)));
            }
        }

        List<Sighting> found = [];
        using SqliteCommand rows = database.Command("SELECT machine, first, last, places FROM sighting WHERE block = $block", "$block");
        foreach (IGrouping<long, (long Id, string Path, long Size)> block in at.GroupBy(p => p.Id / PlaceSet.Size))
        {
            Dictionary<int, (string Path, long Size)> places = block.ToDictionary(p => (int)(p.Id % PlaceSet.Size), p => (p.Path, p.Size));
            Database.Set(rows, block.Key);
            using SqliteDataReader row = rows.ExecuteReader();
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
            using (SqliteCommand rows = database.Command("SELECT places FROM sighting WHERE block = $block", "$block"))
            {
                Database.Set(rows, block);
                using SqliteDataReader row = rows.ExecuteReader();
                while (row.Read())
                {
                    used.UnionWith(PlaceSet.Unpack(row.GetFieldValue<byte[]>(0)));
                }
            }

            List<long> unused = [];
            using (SqliteCommand places = database.Command("SELECT id FROM place WHERE id BETWEEN $from AND $to", "$from", "$to"))
            {
                Database.Set(places, block * PlaceSet.Size, (block * PlaceSet.Size) + PlaceSet.Size - 1);
                using SqliteDataReader row = places.ExecuteReader();
                while (row.Read())
                {
                    if (!used.Contains((int)(row.GetInt64(0) % PlaceSet.Size)))
                    {
                        unused.Add(row.GetInt64(0));
                    }
                }
            }

            foreach (long id in unused)
            {
                database.Change("DELETE FROM place WHERE id = $id", ("$id", id));
            }

            database.Change("UPDATE tally SET value = value - $count WHERE name = $name", ("$count", unused.Count), ("$name", Count));
            transaction.Commit();
            forgotten += unused.Count;
        }

        return forgotten;
    }

    private Dictionary<(long Block, long First, long Last), SortedSet<int>> Rows(long machine)
    {
        Dictionary<(long, long, long), SortedSet<int>> rows = [];
        using SqliteCommand find = database.Command("SELECT block, first, last, places FROM sighting WHERE machine = $machine", "$machine");
        Database.Set(find, machine);
        using SqliteDataReader row = find.ExecuteReader();
        while (row.Read())
        {
            rows.Add((row.GetInt64(0), row.GetInt64(1), row.GetInt64(2)), [.. PlaceSet.Unpack(row.GetFieldValue<byte[]>(3))]);
        }

        return rows;
    }

    private void Write(long machine, Dictionary<(long Block, long First, long Last), SortedSet<int>> rows, HashSet<(long, long, long)> changed)
    {
        using SqliteCommand put = database.Command(
            "INSERT OR REPLACE INTO sighting (machine, block, first, last, places) VALUES ($machine, $block, $first, $last, $places)", "$machine", "$block", "$first", "$last", "$places");
        using SqliteCommand remove = database.Command(
            "DELETE FROM sighting WHERE machine = $machine AND block = $block AND first = $first AND last = $last", "$machine", "$block", "$first", "$last");
        foreach ((long block, long first, long last) in changed)
        {
            if (rows[(block, first, last)] is { Count: > 0 } set)
            {
                Database.Set(put, machine, block, first, last, PlaceSet.Pack(set));
                put.ExecuteNonQuery();
            }
            else
            {
                Database.Set(remove, machine, block, first, last);
                remove.ExecuteNonQuery();
            }
        }
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

    /// <summary>Numbers of places. They are looked up by 128 bits of digests, half of them over hash and path: an index over both would double the store.</summary>
    private sealed class Numbers(Database database) : IDisposable
    {
        private readonly SqliteCommand _find = database.Command("SELECT id FROM place WHERE prefix = $prefix AND digest = $digest", "$prefix", "$digest");

        private readonly SqliteCommand _add = database.Command(
            "INSERT INTO place (prefix, digest, sha256, size, path) VALUES ($prefix, $digest, $sha256, $size, $path) RETURNING id", "$prefix", "$digest", "$sha256", "$size", "$path");

        /// <summary>0: it has none, and may not be given one.</summary>
        public (long Id, bool IsNew) Of(SeenContent content, bool mayAdd)
        {
            string path = StoredText.Of(content.Path, SeenContent.MostPath);
            long prefix = PrefixOf(content.Sha256);
            long digest = BinaryPrimitives.ReadInt64BigEndian(SHA256.HashData([.. content.Sha256, .. Encoding.UTF8.GetBytes(path)]));
            Database.Set(_find, prefix, digest);
            if (_find.ExecuteScalar() is long known)
            {
                return (known, false);
            }

            if (!mayAdd)
            {
                return (0, false);
            }

            Database.Set(_add, prefix, digest, content.Sha256, content.SizeBytes, path);
            return ((long)_add.ExecuteScalar()!, true);
        }

        public void Dispose()
        {
            _find.Dispose();
            _add.Dispose();
        }
    }
}
