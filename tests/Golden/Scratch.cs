namespace Vmsweep.Golden;

/// <summary>A folder of its own for one test, removed with it.</summary>
public sealed class Scratch : IDisposable
{
    /// <param name="parent">Null: where temporary files are.</param>
    public Scratch(string? parent = null) => Folder = parent is null
        ? Directory.CreateTempSubdirectory("vmsweep-test-").FullName
        : Directory.CreateDirectory(Path.Combine(parent, "vmsweep-test-" + Guid.NewGuid().ToString("N"))).FullName;

    public string Folder { get; }

    public string this[string name] => Path.Combine(Folder, name);

    public void Dispose()
    {
        try
        {
            Directory.Delete(Folder, recursive: true);
        }
        catch (IOException)
        {
            // A mount that is still busy keeps its folder; the machine's temporary files are cleared anyway.
        }
    }
}
