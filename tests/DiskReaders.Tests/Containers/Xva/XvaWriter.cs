using System.Text;
using Vmsweep.DiskReaders.Tests.Containers.Ova;

namespace Vmsweep.DiskReaders.Tests.Containers.Xva;

/// <summary>Exports as xapi writes them, and as nobody does.</summary>
internal static class XvaWriter
{
    public const int Chunk = 1 << 20;

    /// <summary><c>ova.xml</c> with the objects that make disks: a VM, and a drive and a disk for each size.</summary>
    public static string Descriptor(string vm, params (string Reference, long Bytes, int Device)[] disks) => Document(
        Object("VM", "Ref:0", $"<member><name>name_label</name><value>{vm}</value></member><member><name>is_a_snapshot</name><value><boolean>0</boolean></value></member>")
        + Drive("Ref:900", "CD", "Ref:901", 9)
        + Disk("Ref:901", 1000)
        + string.Concat(disks.Select((d, i) => Drive($"Ref:{1000 + i}", "Disk", d.Reference, d.Device) + Disk(d.Reference, d.Bytes))));

    public static string Document(string objects) =>
        $"""<?xml version="1.0" encoding="UTF-8"?><value><struct><member><name>version</name><value><struct><member><name>export_vsn</name><value>2</value></member></struct></value></member><member><name>objects</name><value><array><data>{objects}</data></array></value></member></struct></value>""";

    public static string Drive(string id, string type, string disk, int device) => Object("VBD", id, $"""
        <member><name>VM</name><value>Ref:0</value></member><member><name>VDI</name><value>{disk}</value></member><member><name>userdevice</name><value>{device}</value></member>
        <member><name>type</name><value>{type}</value></member><member><name>qos_algorithm_type</name><value/></member>
        """);

    public static string Disk(string id, long bytes) => Object("VDI", id, $"<member><name>virtual_size</name><value>{bytes}</value></member><member><name>other_config</name><value><struct/></value></member>");

    public static string Object(string kind, string id, string fields) =>
        $"<value><struct><member><name>class</name><value>{kind}</value></member><member><name>id</name><value>{id}</value></member><member><name>snapshot</name><value><struct>{fields}</struct></value></member></struct></value>";

    public static byte[] First(string descriptor) => TarWriter.Member("ova.xml", Encoding.UTF8.GetBytes(descriptor));

    /// <summary>A chunk and its digest.</summary>
    public static byte[] ChunkOf(string reference, long number, byte[] content, string digest = ".xxhash") =>
        [.. TarWriter.Member($"{reference}/{number:D8}", content), .. TarWriter.Member($"{reference}/{number:D8}{digest}", new byte[16])];
}
