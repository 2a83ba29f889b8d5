using System.Buffers.Binary;
using System.Diagnostics;
using System.Text.Json.Nodes;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Connectors.Views;

/// <summary>A dirty bitmap that a qcow2 image keeps while no QEMU has it open.</summary>
internal static class StoredBitmap
{
    /// <summary>qcow2.txt, "Header": offset of incompatible_features, and its bit of an external data file.</summary>
    private const int IncompatibleFeatures = 72;
    private const ulong ExternalData = 4;

    /// <summary>Removes it if it is there.</summary>
    /// <exception cref="ConnectorException">It cannot be; a QEMU that has the image open is one reason.</exception>
    public static void Remove(string image, string name)
    {
        string program = Sandbox.Find("qemu-img") ?? throw new ConnectorException("qemu-img is missing; install it with: apt-get install -y qemu-utils");

        // A header that a tenant wrote must not have this account open files for him: neither a backing file nor one for data.
        if (HasDataFile(image))
        {
            throw new ConnectorException($"{image}: the bitmap {name} is not removed: the image names a data file");
        }

        var alone = new JsonObject { ["driver"] = "qcow2", ["backing"] = null, ["file"] = new JsonObject { ["driver"] = "file", ["filename"] = image } };
        var start = new ProcessStartInfo(program, ["bitmap", "--remove", "json:" + alone.ToJsonString(), name]) { RedirectStandardError = true, RedirectStandardInput = true };
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        string error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0 && !error.Contains("not found", StringComparison.Ordinal))
        {
            throw new ConnectorException($"{image}: the bitmap {name} cannot be removed: {error.Trim()}");
        }
    }

    private static bool HasDataFile(string image)
    {
        try
        {
            using FileStream file = File.OpenRead(image);
            Span<byte> header = stackalloc byte[IncompatibleFeatures + sizeof(ulong)];
            return file.ReadAtLeast(header, header.Length, throwOnEndOfStream: false) == header.Length
                && BinaryPrimitives.ReadUInt32BigEndian(header[4..]) >= 3
                && (BinaryPrimitives.ReadUInt64BigEndian(header[IncompatibleFeatures..]) & ExternalData) != 0;
        }
        catch (UnauthorizedAccessException e)
        {
            throw new ConnectorException($"{image}: {e.Message}", e);
        }
    }
}
