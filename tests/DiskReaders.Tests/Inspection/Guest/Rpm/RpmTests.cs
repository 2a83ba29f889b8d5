using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection.Guest.Rpm;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Inspection.Guest.Rpm;

/// <summary>Packages of RPM's databases equal what rpm lists.</summary>
public sealed class RpmTests
{
    [Theory]
    [InlineData("sqlite")]
    [InlineData("bdb")]
    [InlineData("ndb")]
    public void Every_package_is_there_by_name_and_version(string kind)
    {
        List<string> names = Names(kind, Database(kind));
        names.Sort(StringComparer.Ordinal);
        Assert.Equal(15, RpmDatabases.Names.Length);
        Assert.Equal(RpmDatabases.Names, names);
    }

    [Theory]
    [InlineData("sqlite", 0, "00", "database header")]
    [InlineData("sqlite", 16, "0003", "database header")]
    [InlineData("sqlite", 100, "0A", "b-tree page")]
    [InlineData("sqlite", 103, "FFFF", "b-tree page")]
    [InlineData("bdb", 12, "00000000", "DBMETA")]
    [InlineData("bdb", 20, "00000000", "DBMETA")]
    [InlineData("bdb", 24, "01", "DBMETA")]
    [InlineData("ndb", 0, "00", "rpmpkg header")]
    [InlineData("ndb", 12, "FFFFFF7F", "rpmpkg header")]
    [InlineData("ndb", 48, "00", "rpmpkg slot")]
    [InlineData("ndb", 56, "FFFFFFFF", "rpmpkg blob")]
    public void A_damaged_database_is_refused_by_its_structure(string kind, int at, string bytes, string structure)
    {
        byte[] database = Database(kind);
        Convert.FromHexString(bytes).CopyTo(database, at);
        Assert.Equal(structure, Assert.Throws<DiskFormatException>(() => Names(kind, database)).Structure);
    }

    [Theory]
    [InlineData("sqlite")]
    [InlineData("bdb")]
    [InlineData("ndb")]
    public void An_empty_file_is_no_database(string kind) => Assert.Throws<DiskFormatException>(() => Names(kind, []));

    [Fact]
    public void A_tree_whose_page_leads_to_itself_ends()
    {
        byte[] database = Database("sqlite");
        int page = database[16] << 8 | database[17];

        // An interior page of one cell whose two children are itself, in place of the table's root and of every other page.
        for (int number = 2; number <= database.Length / page; number++)
        {
            byte[] loop = [5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, (byte)number, 0, 100];
            loop.CopyTo(database, (number - 1) * page);
            database.AsSpan(((number - 1) * page) + 100, 4).Clear();
            database[((number - 1) * page) + 103] = (byte)number;
        }

        Assert.Contains("leads back to itself", Assert.Throws<DiskFormatException>(() => Names("sqlite", database)).Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void Overflow_pages_in_a_circle_end()
    {
        byte[] database = Database("bdb");
        for (int page = 1; page < database.Length / 4096; page++)
        {
            if (database[(page * 4096) + 25] == 7)
            {
                BitConverter.GetBytes(page).CopyTo(database, (page * 4096) + 16);
            }
        }

        Assert.NotEmpty(Names("bdb", database));
    }

    [Theory]
    [InlineData("sqlite")]
    [InlineData("bdb")]
    [InlineData("ndb")]
    [Trait("Category", "Slow")]
    public void A_damaged_database_gives_packages_or_a_fault(string kind) =>
        Mutations.Check(Database(kind), (bytes, context) => Read(kind, new MemorySource(bytes), context, (_, _) => { }), [(0, 512)], budgetBytes: 8 << 20);

    private static byte[] Database(string kind) => kind switch
    {
        "sqlite" => RpmDatabases.Sqlite,
        "bdb" => RpmDatabases.Berkeley,
        _ => RpmDatabases.Ndb(),
    };

    private static List<string> Names(string kind, byte[] database)
    {
        var budget = new ScanBudget(8 << 20);
        List<string> names = [];
        try
        {
            Read(kind, new MemorySource(database), new ReadContext(budget, new GapList()), (name, version) => names.Add($"{name} {version}"));
        }
        finally
        {
            Assert.Equal(0, budget.InUse);
        }

        return names;
    }

    private static void Read(string kind, MemorySource source, ReadContext context, Action<string, string> package) =>
        Read(kind, source, context, header =>
        {
            if (RpmHeader.Read(header) is var (name, version))
            {
                package(name, version);
            }
        });

    private static void Read(string kind, MemorySource source, ReadContext context, Action<ReadOnlySpan<byte>> header)
    {
        Action<IBlockSource, ReadContext, Action<ReadOnlySpan<byte>>> read = kind switch
        {
            "sqlite" => SqlitePackages.Read,
            "bdb" => BerkeleyPackages.Read,
            _ => NdbPackages.Read,
        };
        read(source, context, header);
    }
}
