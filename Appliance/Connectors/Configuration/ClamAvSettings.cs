using Vmsweep.Signatures.ClamAv;

namespace Vmsweep.Appliance.Connectors.Configuration;

/// <summary>ClamAV's daemon as <c>vmsweep.json</c> has it.</summary>
/// <param name="Socket">Where it listens.</param>
/// <param name="DatabaseFolder">Its <c>DatabaseDirectory</c>, into which bundles' parts for it are put; null: they are not.</param>
internal sealed record ClamAvSettings(string Socket, string? DatabaseFolder)
{
    public static ClamAvSettings Parse(ConfigurationNode node)
    {
        node.Allow("socket", "databaseFolder");
        return new ClamAvSettings(node.AbsolutePath("socket") ?? ClamdOptions.DefaultSocket, node.AbsolutePath("databaseFolder"));
    }
}
