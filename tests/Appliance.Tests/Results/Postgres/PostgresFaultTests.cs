using System.Text;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Postgres;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Appliance.Tests.Nodes;
using Vmsweep.Appliance.Tests.Results.Store;
using Vmsweep.Appliance.Tests.Sweeps;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Results.Postgres;

/// <summary>A server that is not there, refuses, is newer, or goes away; and its back-up.</summary>
[Collection(PostgresCollection.Name)]
public sealed class PostgresFaultTests : IClassFixture<PostgresFaultTests.Victim>, IDisposable
{
    private readonly PostgresRig _server;
    private readonly string _schema = "t" + Guid.NewGuid().ToString("N");
    private readonly Scratch _scratch = new();
    private readonly SetClock _clock = new(Scans.Start.AddDays(2));

    public PostgresFaultTests(Victim victim)
    {
        _server = victim.Server;
        _server.StartWhereEnded();
        _server.Sql("CREATE SCHEMA " + _schema);
    }

    public void Dispose() => _scratch.Dispose();

    /// <summary>A server that these tests end, and start again.</summary>
    public sealed class Victim : IDisposable
    {
        public PostgresRig Server { get; } = new();

        public void Dispose() => Server.Dispose();
    }

    [Fact]
    public void What_keeps_it_from_being_used_is_said()
    {
        DatabasePlace place = Place();
        using (ResultLog log = ResultLog.Open(place, _clock)!)
        {
            Assert.NotNull(log.Record(Scans.Of("vm", 1, Scans.Finding("v1/x"))));
        }

        File.WriteAllText(_scratch["wrong"], "not it\n");
        Assert.Contains("others may read this secret", Why(Settings(secret: _scratch["wrong"])), StringComparison.Ordinal);
        Tool.Run("chmod", "600", _scratch["wrong"]);
        string refused = Why(Settings(secret: _scratch["wrong"]));
        Assert.Contains("refuses the account vmsweep", refused, StringComparison.Ordinal);
        Assert.DoesNotContain("not it", refused, StringComparison.Ordinal);
        Assert.Contains("createdb -O vmsweep other", Why(Settings(";Database=other")), StringComparison.Ordinal);

        // A newer one is left as it is.
        string version = Sql("SELECT version FROM vmsweep_schema");
        Sql("UPDATE vmsweep_schema SET version = 1000");
        Assert.Contains("written by a newer vmsweep (schema 1000", Why(place.Server!), StringComparison.Ordinal);
        Assert.Null(ResultLog.Open(place, _clock));
        Assert.Contains("newer vmsweep", Assert.Throws<SweepStoreException>(() => SweepStore.Open(place, _clock)).Message, StringComparison.Ordinal);
        Assert.Equal("1000", Sql("SELECT version FROM vmsweep_schema"));
        Sql($"UPDATE vmsweep_schema SET version = {version}");

        _server.Kill();
        Assert.Contains("cannot be reached", Why(place.Server!), StringComparison.Ordinal);
        Assert.Null(VerdictCache.Open(place, _clock));
    }

    [Theory]
    [InlineData("\"connection\": \"Host=db;Username=u;Password=p4ss\"", "a password must not stand in a connection string")]
    [InlineData("\"connection\": \"Host=db;Port=p4ss\"", "this is no connection string")]
    [InlineData("\"connection\": \"Host=db;Colour=p4ss\"", "this is no connection string")]
    [InlineData("\"connection\": \"Database=vmsweep\"", "names one \"Host\"")]
    [InlineData("\"connection\": \"Host=a,b\"", "names one \"Host\"")]
    [InlineData("\"secret\": { \"file\": \"/x\" }", "has no \"connection\"")]
    [InlineData("\"connection\": \"Host=db\", \"node\": \"\"", "1 to 128 characters")]
    [InlineData("\"connection\": \"Host=db\", \"deadAfterSeconds\": 1", "from 2 to 3600")]
    [InlineData("\"connection\": \"Host=db\", \"pool\": 1", "pool")]
    public void A_wrong_configuration_is_refused_with_its_line_and_tells_no_secret(string members, string why)
    {
        string message = Assert.Throws<ConfigurationException>(() => ApplianceConfiguration.Parse("v.json", Encoding.UTF8.GetBytes($"{{\n \"database\": {{ {members} }} }}"))).Message;
        Assert.StartsWith("v.json:2: ", message, StringComparison.Ordinal);
        Assert.Contains(why, message, StringComparison.Ordinal);
        Assert.DoesNotContain("p4ss", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Another_machine_is_spoken_to_under_TLS_unless_it_is_said_otherwise()
    {
        Assert.Contains("SSL Mode=VerifyFull", Words("Host=db.example;Username=u"), StringComparison.Ordinal);
        Assert.Contains("SSL Mode=Require", Words("Host=db.example;SslMode=Require"), StringComparison.Ordinal);
        Assert.DoesNotContain("VerifyFull", Words("Host=/run/postgresql"), StringComparison.Ordinal);

        static string Words(string connection) => new PostgresSettings(connection, null, "n").ConnectionString();
    }

    [Fact]
    public void A_server_that_goes_away_costs_the_records_meanwhile_and_nothing_else()
    {
        DatabasePlace place = Place();
        using ResultLog log = ResultLog.Open(place, _clock)!;
        using VerdictCache cache = VerdictCache.Open(place, _clock)!;
        Assert.NotNull(log.Record(Scans.Of("a", 1, Scans.Finding("v1/x"))));
        _server.Kill();
        Assert.Null(log.Record(Scans.Of("b", 1, Scans.Finding("v1/x"))));
        Assert.Empty(VerdictSession.Earlier(cache, 0, [1]));
        Assert.False(cache.IsUsable);
        _server.Start();
        Assert.NotNull(log.Record(Scans.Of("b", 1, Scans.Finding("v1/x"))));
        Assert.Equal("2", Sql("SELECT count(*) FROM finding WHERE scans = 1"));
        Assert.Equal("2", Sql("SELECT count(*) FROM scan"));
    }

    [Fact]
    public void A_sweep_whose_server_goes_away_ends_clearly_and_goes_on_when_it_is_run_again()
    {
        List<SweepVm> vms = [.. Enumerable.Range(0, 5).Select(i => FakeNight.Vm($"vm{i}"))];
        string run;
        using (var night = new SharedNode(Place(), "\"disks\": 1") { Vms = vms })
        {
            run = night.Plan();
            night.During = (vm, _) =>
            {
                if (vm.Name == "vm2")
                {
                    _server.Kill();
                }
            };
            string message = Assert.Throws<SweepStoreException>(() => night.Run(run)).Message;
            Assert.True(message.Contains("fails", StringComparison.Ordinal) || message.Contains("could not be recorded", StringComparison.Ordinal), message);
            Assert.Equal(["vm0", "vm1", "vm2"], night.Scanned);
        }

        _server.Start();
        Assert.Equal("2", Sql("SELECT count(*) FROM scan"));
        Sql("UPDATE node SET seen = 0");
        using var again = new SharedNode(Place(), "\"disks\": 1") { Vms = vms };
        Assert.Equal(SweepStates.Finished, again.Run(run).State);
        Assert.Equal(["vm2", "vm3", "vm4"], again.Scanned);
        Assert.Equal("10|10", Sql("SELECT count(*), sum(scans) FROM finding"));
        Assert.Equal("0", Sql("SELECT count(*) FROM sweep_claim"));
    }

    [Fact]
    public void A_back_up_by_pg_dump_is_restored_with_all_that_was_in_it()
    {
        using (ResultLog log = ResultLog.Open(Place(), _clock)!)
        {
            for (int i = 0; i < 5; i++)
            {
                // Names of guests, as hostile as they come.
                log.Record(Scans.Of($"vm{i}", 1, Scans.Finding($"v1/\ud800 \0 '; DROP TABLE finding; -- {i} €🦠")).Seeing("v1/a.exe"));
            }
        }

        _server.Dump(_scratch["vmsweep.dump"]);
        _server.Restore(_scratch["vmsweep.dump"], "restored");
        var place = new DatabasePlace(_scratch["state"], Settings(";Database=restored"));
        using ResultLog restored = ResultLog.Open(place, _clock)!;
        Assert.NotNull(restored.Record(Scans.Of("vm5", 1, Scans.Finding("v1/x"))));
        using Database database = Database.Open(place, _clock)!;
        IReadOnlyList<KnownFinding> findings = new FindingQueries(database).List(new FindingFilter());
        Assert.Equal(6, findings.Count);
        Assert.Equal(5, findings.Count(f => f.Path.EndsWith("€🦠", StringComparison.Ordinal)));
        Assert.Null(new AuditLog(database, _clock).FirstBroken());
        Assert.Equal(6, new HuntQueries(database).ByHash(Scans.Hash("a.exe")).Vms);
    }

    [Fact]
    public void Names_that_are_too_long_for_an_index_are_kept_all_the_same()
    {
        string random = string.Concat(Enumerable.Range(0, 4000).Select(i => char.ConvertFromUtf32(0x4E00 + (i * 7919 % 20000))));
        using ResultLog log = ResultLog.Open(Place(), _clock)!;
        Assert.NotNull(log.Record(Scans.Of(random, 1, Scans.Finding("v1/" + random, rule: random))));
        Assert.NotNull(log.Record(Scans.Of(random + "2", 1, Scans.Finding("v1/" + random, rule: random))));
        Assert.Equal("2", Sql("SELECT count(*) FROM machine"));
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void The_doctor_tries_it()
    {
        File.WriteAllText(_scratch["v.json"], $$"""{ "database": { "connection": "{{_server.Connection}};Search Path={{_schema}}", "secret": { "file": "{{_server.Secret}}" } } }""");
        Assert.Contains("ok    database    PostgreSQL", Doctor(), StringComparison.Ordinal);
        _server.Kill();
        string said = Doctor();
        Assert.Contains("MEND  database", said, StringComparison.Ordinal);
        Assert.Contains("cannot be reached", said, StringComparison.Ordinal);

        string Doctor() => Launcher.Run("doctor", "--config", _scratch["v.json"], "--state", _scratch["state"]).Output;
    }

    private string Sql(string sql) => _server.Sql($"SET search_path = {_schema};\n{sql}");

    private PostgresSettings Settings(string more = "", string? secret = null) => PostgresFixture.Settings(_server, $";Search Path={_schema}{more}", secret: secret);

    private static string Why(PostgresSettings settings) => Assert.Throws<DatabaseException>(() => PostgresDatabase.Open(settings, DatabasePart.Results, isDurable: true)).Message;

    private DatabasePlace Place() => new(_scratch["state"], Settings());
}
