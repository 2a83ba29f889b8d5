using System.Buffers.Binary;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Inspection.Guest.Rpm;

/// <summary>RPM's databases of the same few packages: SQLite by rpm itself, Berkeley DB by its own loader, ndb from rpm's layout (Debian's rpm does not write it).</summary>
internal static class RpmDatabases
{
    private static readonly Lazy<(byte[] Sqlite, byte[] Berkeley, byte[] Headers, string[] Names)> Made = new(Make);

    public static byte[] Sqlite => (byte[])Made.Value.Sqlite.Clone();

    public static byte[] Berkeley => (byte[])Made.Value.Berkeley.Clone();

    /// <summary>What <c>rpm -qa</c> says, name and version.</summary>
    public static string[] Names => Made.Value.Names;

    public static byte[] Ndb()
    {
        List<byte[]> headers = Headers(Made.Value.Headers);
        var file = new List<byte>(new byte[4096]);
        byte[] page = new byte[4096];
        Words(page, 0, 0x506D_7052, 0, 1, 1, (uint)headers.Count + 1);
        for (int slot = 2; slot < 256; slot++)
        {
            Words(page, slot * 16, 0x746F_6C53);
        }

        for (int i = 0; i < headers.Count; i++)
        {
            byte[] blob = new byte[16 + ((headers[i].Length + 12 + 15) / 16 * 16)];
            Words(blob, 0, 0x5362_6C42, (uint)i + 1, 1, (uint)headers[i].Length);
            headers[i].CopyTo(blob, 16);
            Words(blob, blob.Length - 8, (uint)headers[i].Length, 0x4562_6C42);

            // Every second slot is free: packages were removed.
            Words(page, ((2 * i) + 3) * 16, 0x746F_6C53, (uint)i + 1, (uint)file.Count / 16, (uint)blob.Length / 16);
            file.AddRange(blob);
        }

        byte[] all = [.. file];
        page.CopyTo(all, 0);
        return all;
    }

    private static void Words(byte[] bytes, int at, params uint[] words)
    {
        foreach (uint word in words)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(at), word);
            at += 4;
        }
    }

    /// <summary>What <c>rpmdb --exportdb</c> gives: headers behind each other, each with its magic in front, which databases do not keep.</summary>
    private static List<byte[]> Headers(byte[] exported)
    {
        List<byte[]> headers = [];
        for (int at = 0; at < exported.Length;)
        {
            int length = 8 + (BinaryPrimitives.ReadInt32BigEndian(exported.AsSpan(at + 8)) * 16) + BinaryPrimitives.ReadInt32BigEndian(exported.AsSpan(at + 12));
            headers.Add(exported.AsSpan(at + 8, length).ToArray());
            at += 8 + length;
        }

        return headers;
    }

    private static (byte[] Sqlite, byte[] Berkeley, byte[] Headers, string[] Names) Make()
    {
        foreach (string program in (string[])["rpm", "rpmbuild", "db5.3_load"])
        {
            Tool.Find(program);
        }

        using var scratch = new Scratch();
        Tool.Shell("""
            make() {
              printf 'Name: %s\nVersion: %s\nRelease: 2\nSummary: s\nLicense: none\nBuildArch: noarch\n%%description\n%s\n%%files\n' $1 $2 "$(seq 1 $3)" > p.spec
              rpmbuild -bb --quiet --define "_topdir $PWD/build" --define "_rpmdir $PWD/rpms" p.spec > /dev/null 2>&1
            }
            make kernel-core 6.8.5 9000; make open-vm-tools 12.3.0 10; make bash 5.2 300
            for i in $(seq 1 12); do make many$i 1.$i $((i * 40)); done
            mkdir sqlite; rpm --dbpath $PWD/sqlite --define '_db_backend sqlite' --initdb
            rpm --dbpath $PWD/sqlite --define '_db_backend sqlite' --force-debian -i --justdb --nodeps rpms/noarch/*.rpm 2>/dev/null
            rpm --dbpath $PWD/sqlite --define '_db_backend sqlite' -qa --qf '%{NAME} %{VERSION}-%{RELEASE}\n' > names
            rpmdb --dbpath $PWD/sqlite --define '_db_backend sqlite' --exportdb > headers
            """, scratch.Folder);
        byte[] headers = File.ReadAllBytes(scratch["headers"]);
        using (StreamWriter dump = File.CreateText(scratch["dump"]))
        {
            dump.Write("VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=4096\nHEADER=END\n 00000000\n 0f000000\n");
            int number = 0;
            foreach (byte[] header in Headers(headers))
            {
                byte[] key = BitConverter.GetBytes(++number);
                dump.Write($" {Convert.ToHexStringLower(key)}\n {Convert.ToHexStringLower(header)}\n");
            }

            dump.Write("DATA=END\n");
        }

        Tool.Shell("mkdir bdb; db5.3_load -f dump bdb/Packages", scratch.Folder);
        string[] names = [.. File.ReadAllLines(scratch["names"]).Order(StringComparer.Ordinal)];
        string[] again = Tool.Shell("rpm --dbpath $PWD/bdb --define '_db_backend bdb_ro' -qa --qf '%{NAME} %{VERSION}-%{RELEASE}\\n' 2>/dev/null", scratch.Folder).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(names, again.Order(StringComparer.Ordinal));
        return (File.ReadAllBytes(scratch["sqlite/rpmdb.sqlite"]), File.ReadAllBytes(scratch["bdb/Packages"]), headers, names);
    }
}
