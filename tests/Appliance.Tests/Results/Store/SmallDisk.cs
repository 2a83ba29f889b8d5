using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Results.Store;

/// <summary>A raw disk of one ext4 volume.</summary>
internal static class SmallDisk
{
    public static string Make(string path, IReadOnlyDictionary<string, string> files)
    {
        using var scratch = new Scratch();
        foreach ((string name, string content) in files)
        {
            string file = scratch["files/" + name];
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            File.WriteAllText(file, content);
        }

        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.Delete(path);
        Tool.Run("mke2fs", "-q", "-F", "-t", "ext4", "-d", scratch["files"], path, "8M");
        return path;
    }
}
