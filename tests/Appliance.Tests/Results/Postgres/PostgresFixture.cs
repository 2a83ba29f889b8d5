using System.Collections.Concurrent;
using System.Text;
using System.Text.Json;
using Npgsql;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Postgres;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Results.Postgres;

[CollectionDefinition(Name)]
public sealed class PostgresCollection : ICollectionFixture<PostgresFixture>
{
    public const string Name = "PostgreSQL";
}

/// <summary>One server for all tests that end none.</summary>
public sealed class PostgresFixture : IDisposable
{
    private readonly ConcurrentDictionary<string, DatabasePlace> _places = new(StringComparer.Ordinal);

    public PostgresRig Server { get; } = new();

    public void Dispose() => Server.Dispose();

    /// <summary>As the configuration has it.</summary>
    /// <param name="more">Words of the connection string.</param>
    internal static PostgresSettings Settings(PostgresRig server, string more = "", string node = "one", string? secret = null, int dead = 600) => ApplianceConfiguration.Parse(
        "v.json", Encoding.UTF8.GetBytes($$"""{ "database": { "connection": {{JsonSerializer.Serialize(server.Connection + more)}}, "secret": { "file": "{{secret ?? server.Secret}}" }, "node": "{{node}}", "deadAfterSeconds": {{dead}} } }""")).Server!;

    /// <summary>A database for each state folder: a schema of its own, which is made faster.</summary>
    internal DatabasePlace Place(string folder, string node = "one") => _places.GetOrAdd(folder + "\n" + node, _ =>
    {
        string schema = "s" + Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(Encoding.UTF8.GetBytes(folder)))[..16];
        using (var connection = new NpgsqlConnection(Settings(Server).ConnectionString()))
        {
            connection.Open();
            using NpgsqlCommand create = connection.CreateCommand();
#pragma warning disable CA2100 // A name made of digits.
            create.CommandText = $"CREATE SCHEMA IF NOT EXISTS {schema}";
#pragma warning restore CA2100
            create.ExecuteNonQuery();
        }

        var place = new DatabasePlace(folder, Settings(Server, $";Search Path={schema}", node));

        // Where it cannot be used, a test would only hear that it was not.
        Database.OpenOrThrow(place, TimeProvider.System).Dispose();
        return place;
    });
}
